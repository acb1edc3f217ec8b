_base_ = "./ocrnet_hrnetv2-w48_4xb3-120k_cityscapes-512x1024.py"
model = dict(
    # The authors leave the coarse loss unreduced: its mean counts ignored pixels, too.
    decode_head=[
        dict(head, loss_decode=loss)
        for head, loss in zip(
            _base_.model.decode_head,
            [
                dict(
                    type="WeightedCrossEntropyLoss",
                    reduction="none",
                    loss_weight=0.4,
                    class_weight=_base_.class_weight,
                ),
                dict(
                    type="OhemCrossEntropyLoss",
                    thres=0.9,
                    min_kept=131072,
                    class_weight=_base_.class_weight,
                ),
            ],
            strict=True,
        )
    ],
)
