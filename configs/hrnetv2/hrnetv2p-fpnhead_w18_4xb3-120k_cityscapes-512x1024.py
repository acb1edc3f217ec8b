_base_ = "./hrnetv2_w18_4xb3-120k_cityscapes-512x1024.py"
# The paper's pyramid is for detection; here mmseg's Panoptic-FPN head reads it.
model = dict(
    neck=dict(type="HighResolutionFPN", in_channels=(18, 36, 72, 144)),
    decode_head=dict(
        type="FPNHead",
        in_channels=(256, 256, 256, 256, 256),
        in_index=(0, 1, 2, 3, 4),
        feature_strides=(4, 8, 16, 32, 64),
        channels=128,
        dropout_ratio=0.1,
    ),
)
