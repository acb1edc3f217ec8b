_base_ = "./refinenet_r50_4xb2-60k_nyudv2-480x480.py"
model = dict(decode_head=dict(cascade="single"))
