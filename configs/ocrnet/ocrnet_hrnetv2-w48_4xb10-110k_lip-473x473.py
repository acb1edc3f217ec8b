_base_ = [
    "../_base_/models/ocrnet_hrnetv2.py",
    "../_base_/datasets/lip.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_110k.py",
]
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    decode_head=[dict(head, num_classes=20) for head in _base_.model.decode_head],
)
optim_wrapper = dict(optimizer=dict(lr=0.007))
tta_model = dict(type="HRNetSegTTAModel", swap_labels={{_base_.swap_labels}})
