_base_ = "./hrnetv2_w48_4xb3-120k_cityscapes-512x1024.py"
model = dict(
    decode_head=dict(
        loss_decode=dict(type="OhemCrossEntropyLoss", thres=0.9, min_kept=131072),
    ),
)
