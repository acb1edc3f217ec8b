# The authors' first rates; they lower them after each third of the training, as the configs of
# NYUDv2 do, whose later rates are known.
_base_ = "./schedule_40k.py"
optim_wrapper = dict(
    optimizer=dict(lr=0.005, weight_decay=1e-5),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
