_base_ = "./denseaspp_densenet121-d8_4xb2-30k_cityscapes-512x512.py"
model = dict(backbone=dict(output_stride=16))
