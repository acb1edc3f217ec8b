# BN momentum 0.0003 is TensorFlow's decay of 0.9997.
norm_cfg = dict(type="SyncBN", requires_grad=True, momentum=0.0003)
model = dict(
    type="AtrousEncoderDecoder",
    output_stride=16,
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
        deep_stem=True,
        multi_grid=(1, 2, 4),
        norm_cfg=norm_cfg,
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://resnet101_v1c"),
    ),
    decode_head=dict(
        type="DeepLabV3Head",
        in_channels=2048,
        in_index=3,
        num_classes=19,
        norm_cfg=norm_cfg,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
