_base_ = "./denseaspp_densenet121-d8_4xb2-30k_cityscapes-512x512.py"
model = dict(
    backbone=dict(
        arch="201",
        init_cfg=dict(checkpoint="https://download.pytorch.org/models/densenet201-c1103571.pth"),
    ),
    decode_head=dict(in_channels=960, bottleneck_channels=480, growth_channels=240),
)
