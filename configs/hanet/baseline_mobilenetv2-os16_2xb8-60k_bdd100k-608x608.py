_base_ = "./hanet_mobilenetv2-os16_2xb8-60k_bdd100k-608x608.py"
model = dict(height_attention=dict(places=[]))
