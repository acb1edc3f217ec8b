# BN momentum 0.01 as in the authors' segmentation code (PyTorch's default is 0.1).
norm_cfg = dict(type="SyncBN", requires_grad=True, momentum=0.01)
model = dict(
    type="FusedEncoderDecoder",
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
        norm_cfg=norm_cfg,
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://msra/hrnetv2_w48"),
    ),
    decode_head=dict(
        type="HRNetV2Head",
        in_channels=(48, 96, 192, 384),
        num_classes=19,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="WeightedCrossEntropyLoss"),
        init_cfg=dict(type="Normal", std=0.001, layer="Conv2d"),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
