_base_ = "./hrnetv2_w48_4xb3-120k_cityscapes-512x1024.py"
# The stride-4 stream alone, widened to 15C: our reading of the paper, no code was published.
model = dict(
    backbone=dict(multiscale_output=False),
    decode_head=dict(in_channels=(48,), channels=720),
)
