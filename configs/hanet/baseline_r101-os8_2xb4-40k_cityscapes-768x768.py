_base_ = "./hanet_r101-os8_2xb4-40k_cityscapes-768x768.py"
model = dict(height_attention=dict(places=[]))
