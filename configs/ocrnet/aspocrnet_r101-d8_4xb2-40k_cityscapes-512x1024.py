_base_ = "./ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024.py"
model = dict(
    decode_head=[
        _base_.model.decode_head[0],
        dict(
            type="ASPOCRHead",
            in_index=3,
            in_channels=2048,
            dilations=(12, 24, 36),
            num_classes=19,
            norm_cfg=_base_.norm_cfg,
            align_corners=True,
            loss_decode=_base_.model.decode_head[1].loss_decode,
        ),
    ],
)
