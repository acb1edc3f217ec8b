_base_ = "./deeplabv3plus_x65-no-image-pool_4xb4-90k_cityscapes-769x769.py"
model = dict(backbone=dict(depth=71, init_cfg=dict(checkpoint="pretrained/xception_71.pth")))
