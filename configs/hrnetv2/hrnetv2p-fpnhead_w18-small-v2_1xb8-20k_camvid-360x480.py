_base_ = "./hrnetv2_w18-small-v2_1xb8-20k_camvid-360x480.py"
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
