_base_ = "./hanet-pspnet_r50-os8_4xb2-40k_cityscapes-512x1024.py"
# mmseg's UPerNet.
model = dict(
    height_attention=dict(
        places=[
            dict(source="backbone[2]", target="backbone[3]", low_channels=1024, high_channels=2048),
            dict(
                source="decode_head.fpn_bottleneck:in",
                target="decode_head.fpn_bottleneck",
                low_channels=2048,
                high_channels=512,
            ),
        ],
    ),
    backbone=dict(dilations=(1, 1, 1, 1), strides=(1, 2, 2, 2)),
    decode_head=dict(type="UPerHead", in_channels=(256, 512, 1024, 2048), in_index=(0, 1, 2, 3)),
)
