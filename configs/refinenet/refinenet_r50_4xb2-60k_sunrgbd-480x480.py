_base_ = "./refinenet_r101_4xb2-60k_sunrgbd-480x480.py"
model = dict(
    backbone=dict(
        depth=50,
        init_cfg=dict(checkpoint="https://download.pytorch.org/models/resnet50-0676ba61.pth"),
    ),
)
