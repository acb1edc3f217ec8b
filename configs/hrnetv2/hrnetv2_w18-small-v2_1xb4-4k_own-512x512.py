_base_ = [
    "../_base_/models/hrnetv2.py",
    "../_base_/datasets/own.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_20k.py",
]
# A start for data of one's own: small, 4,000 iterations on one GPU.
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    backbone=dict(
        arch="w18_small_v2", init_cfg=dict(checkpoint="open-mmlab://msra/hrnetv2_w18_small")
    ),
    decode_head=dict(in_channels=(18, 36, 72, 144), num_classes={{_base_.num_classes}}),
)
param_scheduler = [dict(type="PolyLR", eta_min=0, power=0.9, begin=0, end=4000, by_epoch=False)]
train_cfg = dict(max_iters=4000, val_interval=400)
default_hooks = dict(checkpoint=dict(interval=400, max_keep_ckpts=2))
