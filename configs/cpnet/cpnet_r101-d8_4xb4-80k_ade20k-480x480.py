_base_ = "./cpnet_r50-d8_4xb4-80k_ade20k-480x480.py"
model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint="open-mmlab://resnet101_v1c")),
)
