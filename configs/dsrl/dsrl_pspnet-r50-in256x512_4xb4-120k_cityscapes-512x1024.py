_base_ = [
    "../_base_/datasets/cityscapes_512x1024.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_120k.py",
]
# DSRL around a network of mmseg's own: three entries beside backbone and heads.
norm_cfg = dict(type="SyncBN", requires_grad=True)
loss_decode = dict(type="CrossEntropyLoss", avg_non_ignore=True)
model = dict(
    type="DSRLEncoderDecoder",
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
        norm_cfg=norm_cfg,
        contract_dilation=True,
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://resnet50_v1c"),
    ),
    decode_head=dict(
        type="PSPHead",
        in_channels=2048,
        in_index=3,
        channels=512,
        pool_scales=(1, 2, 3, 6),
        num_classes=19,
        norm_cfg=norm_cfg,
        loss_decode=loss_decode,
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=1024,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        num_classes=19,
        norm_cfg=norm_cfg,
        loss_decode=dict(loss_decode, loss_weight=0.4),
    ),
    sisr_head=dict(type="SISRHead", in_channels=(256, 2048), in_index=(0, 3)),
    feature_transform=dict(out_channels=32, norm_cfg=norm_cfg),
    loss_fa=dict(type="FeatureAffinityLoss"),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
