_base_ = "./hrnetv2_w48_4xb3-120k_cityscapes-512x1024.py"
model = dict(
    backbone=dict(arch="w18", init_cfg=dict(checkpoint="open-mmlab://msra/hrnetv2_w18")),
    decode_head=dict(in_channels=(18, 36, 72, 144)),
)
