_base_ = "./hanet_shufflenetv2-os16_1xb8-40k_cityscapes-768x768.py"
model = dict(height_attention=dict(places=[]))
