_base_ = [
    "../_base_/models/espnetv2.py",
    "../_base_/datasets/cityscapes_512x1024.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_120k.py",
]
# The baseline without super-resolution; its images and labels are as large as its input.
model = dict(data_preprocessor=dict(size={{_base_.crop_size}}))
optim_wrapper = dict(
    optimizer=dict(lr=0.009, weight_decay=4e-5),
    paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))),
)
