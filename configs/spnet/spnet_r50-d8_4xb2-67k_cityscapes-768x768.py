_base_ = "./spnet_r101-d8_4xb2-67k_cityscapes-768x768.py"
model = dict(backbone=dict(depth=50, init_cfg=dict(checkpoint="pretrained/encoding_resnet50.pth")))
