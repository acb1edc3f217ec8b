_base_ = "./schedule_20k.py"
# Weights of convs alone decay, and of these not the depthwise ones; as in the authors' code.
optim_wrapper = dict(
    optimizer=dict(lr=0.007, weight_decay=0.0001),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, dwconv_decay_mult=0, bias_lr_mult=2),
)
param_scheduler = [dict(type="PolyLR", eta_min=0, power=0.9, begin=0, end=30000, by_epoch=False)]
train_cfg = dict(max_iters=30000, val_interval=3000)
default_hooks = dict(checkpoint=dict(interval=3000))
