_base_ = "./hanet_r101-os16_2xb8-60k_bdd100k-608x608.py"
model = dict(height_attention=dict(places=[]))
