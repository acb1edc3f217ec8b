_base_ = "./deeplabv3_r101-cascade7-mg121_4xb4-30k_voc12aug-513x513.py"
model = dict(backbone=dict(depth=50, init_cfg=dict(checkpoint="open-mmlab://resnet50_v1c")))
