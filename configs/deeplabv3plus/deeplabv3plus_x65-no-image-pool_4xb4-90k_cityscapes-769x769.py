_base_ = "./deeplabv3plus_x65_4xb4-90k_cityscapes-769x769.py"
model = dict(decode_head=dict(with_image_pool=False))
