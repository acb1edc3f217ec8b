_base_ = "./cpnet_r50-d8_4xb4-25k_pascal-context-512x512.py"
model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint="open-mmlab://resnet101_v1c")),
)
