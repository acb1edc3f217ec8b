_base_ = [
    "../_base_/models/deeplabv3.py",
    "../_base_/datasets/camvid.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_20k.py",
]
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    backbone=dict(depth=50, init_cfg=dict(checkpoint="open-mmlab://resnet50_v1c")),
    decode_head=dict(num_classes=11),
)
