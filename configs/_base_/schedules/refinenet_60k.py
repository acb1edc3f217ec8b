# The authors train with batch 1, 5e-4 for the decoder and a tenth for the ResNet, and divide by 10
# by hand; batch 8 with the rate times 8 and poly is ours.
_base_ = "./schedule_60k.py"
optim_wrapper = dict(
    optimizer=dict(lr=0.004),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
