# BN momentum 0.0003 is TensorFlow's decay of 0.9997; the backbone adds its eps of 0.001.
norm_cfg = dict(type="SyncBN", requires_grad=True, momentum=0.0003)
model = dict(
    type="AtrousEncoderDecoder",
    output_stride=16,
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    # The authors' ImageNet weights, converted as configs/deeplabv3plus/README.md says.
    backbone=dict(
        type="AlignedXception",
        depth=65,
        norm_cfg=norm_cfg,
        init_cfg=dict(type="Pretrained", checkpoint="pretrained/xception_65.pth"),
    ),
    decode_head=dict(
        type="DeepLabV3PlusHead",
        in_channels=2048,
        in_index=3,
        num_classes=19,
        norm_cfg=norm_cfg,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
