_base_ = "./hanet_mobilenetv2-os8_1xb8-40k_cityscapes-768x768.py"
model = dict(height_attention=dict(places=[]))
