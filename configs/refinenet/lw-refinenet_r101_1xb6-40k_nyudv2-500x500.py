_base_ = [
    "../_base_/models/light_weight_refinenet.py",
    "../_base_/datasets/nyudv2.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/light_weight_refinenet_40k.py",
]
model = dict(data_preprocessor=dict(size={{_base_.crop_size}}), decode_head=dict(num_classes=40))
# The authors' three stages of 100 epochs; the last rate is a fifth of the first.
param_scheduler = [
    dict(type="MultiStepLR", milestones=[13250], gamma=0.5, end=40000, by_epoch=False),
    dict(type="MultiStepLR", milestones=[26500], gamma=0.4, end=40000, by_epoch=False),
]
