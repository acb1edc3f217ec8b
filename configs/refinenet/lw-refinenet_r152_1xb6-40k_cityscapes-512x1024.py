_base_ = "./lw-refinenet_r101_1xb6-40k_cityscapes-512x1024.py"
model = dict(
    backbone=dict(
        depth=152,
        init_cfg=dict(checkpoint="https://download.pytorch.org/models/resnet152-394f9c45.pth"),
    ),
)
