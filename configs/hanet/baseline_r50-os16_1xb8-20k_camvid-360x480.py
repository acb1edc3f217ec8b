_base_ = "./hanet_r50-os16_1xb8-20k_camvid-360x480.py"
model = dict(height_attention=dict(places=[]))
