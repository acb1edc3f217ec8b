# BN momentum 0.1 as in the authors' OCR branch; align_corners=True is its default.
norm_cfg = dict(type="SyncBN", requires_grad=True)
# PyTorch's own initialisation of convs, as the authors', but for biases: 0.
init_cfg = dict(
    type="Kaiming", layer="Conv2d", a=5**0.5, nonlinearity="leaky_relu", distribution="uniform",
    mode="fan_in",
)  # fmt: skip
model = dict(
    type="FusedCascadeEncoderDecoder",
    num_stages=2,
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type="HighResolutionNet",
        arch="w48",
        align_corners=True,
        norm_cfg=norm_cfg,
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://msra/hrnetv2_w48"),
    ),
    decode_head=[
        dict(
            type="HRNetV2Head",
            in_channels=(48, 96, 192, 384),
            num_classes=19,
            norm_cfg=norm_cfg,
            align_corners=True,
            loss_decode=dict(type="WeightedCrossEntropyLoss", loss_weight=0.4),
            init_cfg=init_cfg,
        ),
        dict(
            type="ObjectContextHead",
            in_channels=(48, 96, 192, 384),
            channels=512,
            ocr_channels=256,
            num_classes=19,
            norm_cfg=norm_cfg,
            align_corners=True,
            loss_decode=dict(type="WeightedCrossEntropyLoss"),
            init_cfg=init_cfg,
        ),
    ],
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
