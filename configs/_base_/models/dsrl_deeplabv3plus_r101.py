norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(
    type="DSRLEncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type="AtrousResNet",
        depth=101,
        output_stride=16,
        multi_grid=(1, 2, 4),
        norm_cfg=norm_cfg,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://download.pytorch.org/models/resnet101-63fe2227.pth",
        ),
    ),
    # Both branches share the pyramid.
    neck=dict(type="ASPPNeck", in_channels=2048, dropout_ratio=0.5, norm_cfg=norm_cfg),
    decode_head=dict(
        type="DeepLabV3PlusDecoderHead",
        num_classes=19,
        norm_cfg=norm_cfg,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ),
    sisr_head=dict(
        type="DeepLabV3PlusSISRHead",
        upsampler="espcn",
        scale_factor=8,
        loss_weight=0.1,
        norm_cfg=norm_cfg,
    ),
    feature_transform=dict(out_channels=32, norm_cfg=norm_cfg),
    loss_fa=dict(type="FeatureAffinityLoss", p=1, grid_stride=16, loss_weight=1.0),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
