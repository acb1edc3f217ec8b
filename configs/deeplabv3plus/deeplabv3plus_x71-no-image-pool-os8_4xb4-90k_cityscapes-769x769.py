_base_ = "./deeplabv3plus_x71-no-image-pool_4xb4-90k_cityscapes-769x769.py"
# Evaluates the checkpoint of its base, which is trained at output stride 16.
model = dict(output_stride=8)
