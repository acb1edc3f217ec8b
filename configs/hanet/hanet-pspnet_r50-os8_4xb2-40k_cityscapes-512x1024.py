_base_ = [
    "../_base_/datasets/cityscapes.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_40k.py",
]
# mmseg's PSPNet. Height attention is the type and height_attention; without positions the data
# pipeline stays as it is.
norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(
    type="HeightAttentionEncoderDecoder",
    height_attention=dict(
        places=[
            dict(source="backbone[2]", target="backbone[3]", low_channels=1024, high_channels=2048),
            dict(
                source="decode_head.bottleneck:in",
                target="decode_head.bottleneck",
                low_channels=4096,
                high_channels=512,
            ),
        ],
        reduction=32,
        position=None,
        dropout_ratio=0.1,
        norm_cfg=norm_cfg,
    ),
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
        dilations=(1, 1, 2, 4),
        strides=(1, 2, 1, 1),
        contract_dilation=True,
        norm_cfg=norm_cfg,
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://resnet50_v1c"),
    ),
    decode_head=dict(
        type="PSPHead",
        in_channels=2048,
        in_index=3,
        channels=512,
        pool_scales=(1, 2, 3, 6),
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        loss_decode=dict(type="WeightedCrossEntropyLoss"),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=1024,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        loss_decode=dict(type="WeightedCrossEntropyLoss", loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
train_dataloader = dict(batch_size=2)
# The authors' second optimizer: weight decay 1e-4 for the attention, 5e-4 for the rest.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(height_attention=dict(decay_mult=0.2))))
