_base_ = "./hanet_r50-os16_2xb4-40k_cityscapes-768x768.py"
model = dict(
    height_attention=dict(
        places=[
            dict(
                source="backbone.layers.2",
                target="backbone.layers.3",
                low_channels=464,
                high_channels=1024,
            ),
            dict(
                source="backbone.layers.3",
                target="decode_head.bottleneck:in",
                low_channels=1024,
                high_channels=1280,
            ),
            dict(
                source="decode_head.bottleneck:in",
                target="decode_head.bottleneck",
                low_channels=1280,
                high_channels=256,
            ),
            dict(
                source="decode_head.fuse:in",
                target="decode_head.fuse",
                low_channels=304,
                high_channels=256,
            ),
        ],
        jitter=0.3,
    ),
    backbone=dict(
        _delete_=True,
        type="ShuffleNetV2",
        output_stride=16,
        norm_cfg={{_base_.norm_cfg}},
        init_cfg=dict(type="Pretrained", checkpoint="mmcls://shufflenet_v2"),
    ),
    decode_head=dict(in_channels=1024, in_index=2, c1_in_channels=116),
    auxiliary_head=dict(in_channels=464, in_index=1),
)
train_dataloader = dict(batch_size=8)
