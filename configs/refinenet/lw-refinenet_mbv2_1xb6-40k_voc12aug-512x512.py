_base_ = "./lw-refinenet_r101_1xb6-40k_voc12aug-512x512.py"
model = dict(
    backbone=dict(
        _delete_=True,
        type="LightWeightMobileNetV2",
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=True,
        init_cfg=dict(type="Pretrained", checkpoint="mmcls://mobilenet_v2"),
    ),
    decode_head=dict(
        in_channels=(24, 32, 64, 96, 160, 320),
        channels=(256,) * 6,
        cascade=(1, 2, 3, 3, 4, 4),
        path_fusion=False,
        relu6=True,
        dropout_ratio=0,
    ),
)
