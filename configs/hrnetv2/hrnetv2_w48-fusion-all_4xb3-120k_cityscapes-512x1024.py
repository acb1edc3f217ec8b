_base_ = "./hrnetv2_w48_4xb3-120k_cityscapes-512x1024.py"
# TPAMI table 12, trained from scratch.
model = dict(backbone=dict(init_cfg=None))
