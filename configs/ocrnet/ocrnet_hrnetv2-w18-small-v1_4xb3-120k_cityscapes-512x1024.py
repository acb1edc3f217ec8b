_base_ = "./ocrnet_hrnetv2-w48_4xb3-120k_cityscapes-512x1024.py"
# MMEngine lists no ImageNet weights of this width: trains from scratch.
model = dict(
    backbone=dict(arch="w18_small_v1", init_cfg=None),
    decode_head=[dict(head, in_channels=(16, 32, 64, 128)) for head in _base_.model.decode_head],
)
