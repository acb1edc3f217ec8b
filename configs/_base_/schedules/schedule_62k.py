_base_ = "./schedule_20k.py"
param_scheduler = [dict(type="PolyLR", eta_min=0, power=0.9, begin=0, end=62000, by_epoch=False)]
train_cfg = dict(max_iters=62000, val_interval=6200)
default_hooks = dict(checkpoint=dict(interval=6200))
