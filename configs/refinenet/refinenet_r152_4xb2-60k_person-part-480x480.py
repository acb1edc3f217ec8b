_base_ = "./refinenet_r101_4xb2-60k_person-part-480x480.py"
model = dict(
    backbone=dict(
        depth=152,
        init_cfg=dict(checkpoint="https://download.pytorch.org/models/resnet152-394f9c45.pth"),
    ),
)
