_base_ = [
    "../_base_/models/hrnetv2.py",
    "../_base_/datasets/street_scenes.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_20k.py",
]
# A demonstration for two CPU cores: minutes from random weights, no download. In so few iterations
# BN's running statistics need PyTorch's momentum, and random convs the usual initialisation.
norm_cfg = dict(momentum=0.1)
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    backbone=dict(arch="w18_small_v1", init_cfg=None, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=(16, 32, 64, 128), norm_cfg=norm_cfg, init_cfg=None),
)
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=40, by_epoch=False),
    dict(type="PolyLR", eta_min=0, power=0.9, begin=40, end=400, by_epoch=False),
]
train_cfg = dict(max_iters=400, val_interval=200)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=200))
randomness = dict(seed=0)
