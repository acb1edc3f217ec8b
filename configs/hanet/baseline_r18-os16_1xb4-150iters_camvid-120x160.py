_base_ = "./hanet_r18-os16_1xb4-150iters_camvid-120x160.py"
model = dict(height_attention=dict(places=[]))
