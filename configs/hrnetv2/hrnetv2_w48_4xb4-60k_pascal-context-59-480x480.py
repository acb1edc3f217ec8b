_base_ = [
    "../_base_/models/hrnetv2.py",
    "../_base_/datasets/pascal_context_59_480x480.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_60k.py",
]
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}, test_cfg=dict(size={{_base_.crop_size}})),
    decode_head=dict(num_classes=59),
    test_cfg=dict(mode="slide", crop_size=(480, 480), stride=(320, 320)),
)
optim_wrapper = dict(optimizer=dict(lr=0.004, weight_decay=0.0001))
tta_model = dict(type="HRNetSegTTAModel")
