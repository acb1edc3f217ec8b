_base_ = [
    "../_base_/models/ocrnet_hrnetv2.py",
    "../_base_/datasets/pascal_context_520x520.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_60k.py",
]
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}, test_cfg=dict(size={{_base_.crop_size}})),
    decode_head=[dict(head, num_classes=60) for head in _base_.model.decode_head],
    test_cfg=dict(mode="slide", crop_size=(520, 520), stride=(346, 346)),
)
optim_wrapper = dict(
    optimizer=dict(lr=0.001, weight_decay=0.0001),
    # The authors' head learns ten times as fast.
    paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))),
)
tta_model = dict(type="HRNetSegTTAModel")
