_base_ = "./refinenet_r101_4xb2-60k_nyudv2-480x480.py"
# Improved residual pooling, as in the authors' models of 2018.
model = dict(decode_head=dict(pool_first=False))
