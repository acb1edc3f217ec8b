_base_ = [
    "../_base_/models/refinenet.py",
    "../_base_/datasets/person_part_refinenet.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/refinenet_60k.py",
]
model = dict(data_preprocessor=dict(size={{_base_.crop_size}}), decode_head=dict(num_classes=7))
