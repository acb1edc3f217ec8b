# mmseg's PSPNet, with strip pooling in the last stage's bottlenecks: `plugins` is all it takes.
_base_ = [
    "../_base_/datasets/camvid.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_20k.py",
]
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
        size={{_base_.crop_size}},
    ),
    backbone=dict(
        type="PluginResNetV1c",
        depth=50,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        contract_dilation=True,
        norm_cfg=norm_cfg,
        plugins=[
            dict(
                cfg=dict(type="StripPoolingModule", norm_cfg=norm_cfg),
                stages=(False, False, False, True),
                position="after_conv2",
            )
        ],
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://resnet50_v1c"),
    ),
    decode_head=dict(
        type="PSPHead",
        in_channels=2048,
        in_index=3,
        channels=512,
        pool_scales=(1, 2, 3, 6),
        dropout_ratio=0.1,
        num_classes=11,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=1024,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=11,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True, loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
