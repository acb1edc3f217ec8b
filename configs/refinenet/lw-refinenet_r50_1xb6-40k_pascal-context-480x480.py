_base_ = "./lw-refinenet_r101_1xb6-40k_pascal-context-480x480.py"
model = dict(
    backbone=dict(
        depth=50,
        init_cfg=dict(checkpoint="https://download.pytorch.org/models/resnet50-0676ba61.pth"),
    ),
)
