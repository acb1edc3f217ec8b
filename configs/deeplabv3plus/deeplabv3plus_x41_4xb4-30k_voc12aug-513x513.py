_base_ = "./deeplabv3plus_x65_4xb4-30k_voc12aug-513x513.py"
model = dict(backbone=dict(depth=41, init_cfg=dict(checkpoint="pretrained/xception_41.pth")))
