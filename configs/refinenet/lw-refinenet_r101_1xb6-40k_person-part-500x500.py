_base_ = [
    "../_base_/models/light_weight_refinenet.py",
    "../_base_/datasets/person_part.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/light_weight_refinenet_40k.py",
]
model = dict(data_preprocessor=dict(size={{_base_.crop_size}}), decode_head=dict(num_classes=7))
