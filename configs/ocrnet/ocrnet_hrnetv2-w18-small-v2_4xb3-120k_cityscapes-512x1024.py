_base_ = "./ocrnet_hrnetv2-w48_4xb3-120k_cityscapes-512x1024.py"
model = dict(
    backbone=dict(
        arch="w18_small_v2", init_cfg=dict(checkpoint="open-mmlab://msra/hrnetv2_w18_small")
    ),
    decode_head=[dict(head, in_channels=(18, 36, 72, 144)) for head in _base_.model.decode_head],
)
