_base_ = "./hrnetv2_w48_4xb3-120k_cityscapes-512x1024.py"
# MMEngine's hrnetv2_w18_small is small-v2.
model = dict(
    backbone=dict(
        arch="w18_small_v2", init_cfg=dict(checkpoint="open-mmlab://msra/hrnetv2_w18_small")
    ),
    decode_head=dict(in_channels=(18, 36, 72, 144)),
)
