# The authors' rates; where we use poly, they halve them after each third of the training (on NYUDv2
# the last is 1e-4).
_base_ = "./schedule_40k.py"
optim_wrapper = dict(
    optimizer=dict(lr=0.005, weight_decay=1e-5),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
