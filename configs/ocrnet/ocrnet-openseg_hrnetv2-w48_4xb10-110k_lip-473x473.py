_base_ = "./ocrnet_hrnetv2-w48_4xb10-110k_lip-473x473.py"
# openseg.pytorch's HRNet_W48_OCR: the coarse head is a 3x3 conv.
model = dict(
    decode_head=[
        dict(_base_.model.decode_head[0], kernel_size=3),
        _base_.model.decode_head[1],
    ],
)
