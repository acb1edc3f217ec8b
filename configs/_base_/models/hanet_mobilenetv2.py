_base_ = "./hanet.py"
model = dict(
    height_attention=dict(
        places=[
            dict(
                source="backbone.layer7",
                target="backbone.conv2",
                low_channels=320,
                high_channels=1280,
            ),
            dict(
                source="backbone.conv2",
                target="decode_head.bottleneck:in",
                low_channels=1280,
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
        type="FullMobileNetV2",
        output_stride=16,
        norm_cfg={{_base_.norm_cfg}},
        init_cfg=dict(type="Pretrained", checkpoint="mmcls://mobilenet_v2"),
    ),
    decode_head=dict(in_channels=1280, in_index=2, c1_in_channels=32),
    auxiliary_head=dict(in_channels=320, in_index=1),
)
