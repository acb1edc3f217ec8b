norm_cfg = dict(type="SyncBN", requires_grad=True)
# In the last block of the first three stages and in every block of the last.
spm = dict(cfg=dict(type="StripPoolingModule", norm_cfg=norm_cfg), position="after_conv2")
loss_decode = dict(type="CrossEntropyLoss", avg_non_ignore=True)
model = dict(
    type="FlipSlideEncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type="PluginResNetV1c",
        depth=50,
        stem_channels=128,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        contract_dilation=True,
        multi_grid=(4, 8, 16),
        norm_cfg=norm_cfg,
        plugins=[
            dict(spm, stages=(True, True, True, False), blocks=(-1,)),
            dict(spm, stages=(False, False, False, True)),
        ],
        # PyTorch-Encoding's ImageNet weights, converted as configs/spnet/README.md says.
        init_cfg=dict(type="Pretrained", checkpoint="pretrained/encoding_resnet50.pth"),
    ),
    decode_head=dict(
        type="SPHead",
        in_channels=2048,
        in_index=3,
        bins=(20, 12),
        num_classes=150,
        dropout_ratio=0.1,
        norm_cfg=norm_cfg,
        align_corners=True,
        loss_decode=loss_decode,
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=1024,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        num_classes=150,
        dropout_ratio=0.1,
        norm_cfg=norm_cfg,
        align_corners=True,
        loss_decode=dict(loss_decode, loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="slide", crop_size=(480, 480), stride=(320, 320)),
)
