_base_ = "./denseaspp_densenet121-d8_4xb2-30k_cityscapes-512x512.py"
model = dict(
    backbone=dict(
        _delete_=True,
        type="DilatedMobileNetV2",
        output_stride=8,
        out_indices=(6,),
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        init_cfg=dict(type="Pretrained", checkpoint="mmcls://mobilenet_v2"),
    ),
    decode_head=dict(in_channels=320),
)
