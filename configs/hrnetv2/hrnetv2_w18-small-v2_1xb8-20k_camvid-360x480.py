_base_ = "./hrnetv2_w48_1xb8-20k_camvid-360x480.py"
model = dict(
    backbone=dict(
        arch="w18_small_v2", init_cfg=dict(checkpoint="open-mmlab://msra/hrnetv2_w18_small")
    ),
    decode_head=dict(in_channels=(18, 36, 72, 144)),
)
