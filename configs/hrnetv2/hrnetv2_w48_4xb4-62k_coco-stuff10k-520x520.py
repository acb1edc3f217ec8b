_base_ = [
    "../_base_/models/hrnetv2.py",
    "../_base_/datasets/coco_stuff10k.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_62k.py",
]
# Of the authors' OCR branch: align_corners=True and BN momentum 0.1.
norm_cfg = dict(momentum=0.1)
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}, test_cfg=dict(size={{_base_.crop_size}})),
    backbone=dict(align_corners=True, norm_cfg=norm_cfg),
    decode_head=dict(
        num_classes=171,
        align_corners=True,
        norm_cfg=norm_cfg,
        loss_decode=dict(type="OhemCrossEntropyLoss", thres=0.9, min_kept=131072),
    ),
    test_cfg=dict(mode="slide", crop_size=(520, 520), stride=(346, 346)),
)
optim_wrapper = dict(
    optimizer=dict(lr=0.001, weight_decay=0.0001),
    # The authors' head learns ten times as fast.
    paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))),
)
tta_model = dict(type="HRNetSegTTAModel")
