_base_ = "./denseaspp_densenet121-d8_4xb2-30k_cityscapes-512x512.py"
model = dict(
    backbone=dict(
        arch="161",
        init_cfg=dict(checkpoint="https://download.pytorch.org/models/densenet161-8d451a50.pth"),
    ),
    decode_head=dict(in_channels=1104, bottleneck_channels=512, growth_channels=128),
)
