_base_ = "./ocrnet_hrnetv2-w48_4xb3-120k_cityscapes-512x1024.py"
# openseg.pytorch's HRNet_W48_ASPOCR.
model = dict(
    decode_head=[
        dict(_base_.model.decode_head[0], kernel_size=3, channels=512),
        dict(
            type="ASPOCRHead",
            in_channels=(48, 96, 192, 384),
            dilations=(24, 48, 72),
            num_classes=19,
            norm_cfg=_base_.norm_cfg,
            align_corners=True,
            loss_decode=_base_.model.decode_head[1].loss_decode,
            init_cfg=_base_.init_cfg,
        ),
    ],
)
