_base_ = "./denseaspp_densenet121-d8_4xb2-30k_cityscapes-512x512.py"
model = dict(
    backbone=dict(
        arch="169",
        init_cfg=dict(checkpoint="https://download.pytorch.org/models/densenet169-b2777c0a.pth"),
    ),
    decode_head=dict(in_channels=832, bottleneck_channels=336, growth_channels=168),
)
