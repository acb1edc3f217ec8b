_base_ = [
    "../_base_/models/deeplabv3plus.py",
    "../_base_/datasets/camvid.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_20k.py",
]
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    backbone=dict(depth=41, init_cfg=dict(checkpoint="pretrained/xception_41.pth")),
    decode_head=dict(num_classes=11),
)
