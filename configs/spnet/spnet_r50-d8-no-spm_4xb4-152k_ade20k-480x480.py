_base_ = "./spnet_r50-d8_4xb4-152k_ade20k-480x480.py"
# The head alone: what the strip-pooling modules of the backbone add.
model = dict(backbone=dict(plugins=None))
