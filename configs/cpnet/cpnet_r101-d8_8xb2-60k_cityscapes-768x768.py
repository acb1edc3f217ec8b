_base_ = "./cpnet_r50-d8_8xb2-60k_cityscapes-768x768.py"
model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint="open-mmlab://resnet101_v1c")),
)
