_base_ = "./hanet.py"
# ImageNet weights of MIT CSAIL, converted as configs/hanet/README.md says.
model = dict(
    height_attention=dict(reduction=32),
    backbone=dict(
        depth=101,
        deep_stem=True,
        stem_channels=128,
        init_cfg=dict(checkpoint="pretrained/resnet101-csail.pth"),
    ),
)
