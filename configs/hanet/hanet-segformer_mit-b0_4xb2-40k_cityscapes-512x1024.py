_base_ = [
    "../_base_/datasets/cityscapes.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_40k.py",
]
# mmseg's SegFormer, its last stage and the fusion of its head gated, without positions.
norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(
    type="HeightAttentionEncoderDecoder",
    height_attention=dict(
        places=[
            dict(source="backbone[2]", target="backbone[3]", low_channels=160, high_channels=256),
            dict(
                source="decode_head.fusion_conv:in",
                target="decode_head.fusion_conv",
                low_channels=1024,
                high_channels=256,
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
        type="MixVisionTransformer",
        embed_dims=32,
        num_layers=[2, 2, 2, 2],
        num_heads=[1, 2, 5, 8],
        patch_sizes=[7, 3, 3, 3],
        sr_ratios=[8, 4, 2, 1],
    ),
    decode_head=dict(
        type="SegformerHead",
        in_channels=[32, 64, 160, 256],
        in_index=[0, 1, 2, 3],
        channels=256,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        loss_decode=dict(type="WeightedCrossEntropyLoss"),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=0.00006, betas=(0.9, 0.999), weight_decay=0.01)
)
