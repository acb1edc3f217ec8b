norm_cfg = dict(type="SyncBN", requires_grad=True)
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
    backbone=dict(type="ESPNetv2", scale=2.0, norm_cfg=norm_cfg),
    decode_head=dict(
        type="ESPNetv2Head",
        in_channels=(32, 128, 256, 512),
        num_classes=19,
        void_class=True,  # as in the authors' weights
        norm_cfg=norm_cfg,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
