_base_ = [
    "../_base_/models/ocrnet_hrnetv2.py",
    "../_base_/datasets/camvid.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_20k.py",
]
# The authors advise 256 and 128 channels for small backbones.
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    backbone=dict(
        arch="w18_small_v2", init_cfg=dict(checkpoint="open-mmlab://msra/hrnetv2_w18_small")
    ),
    decode_head=[
        dict(head, in_channels=(18, 36, 72, 144), num_classes=11, **options)
        for head, options in zip(
            _base_.model.decode_head, [{}, dict(channels=256, ocr_channels=128)], strict=True
        )
    ],
)
