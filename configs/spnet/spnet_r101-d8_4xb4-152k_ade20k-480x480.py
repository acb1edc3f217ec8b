_base_ = "./spnet_r50-d8_4xb4-152k_ade20k-480x480.py"
model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint="pretrained/encoding_resnet101.pth"))
)
