_base_ = "./hrnetv2_w48_4xb3-120k_cityscapes-512x1024.py"
# The stride-4 stream alone and a linear classifier: our reading, no code was published.
model = dict(
    backbone=dict(multiscale_output=False),
    decode_head=dict(
        type="FCNHead",
        in_index=0,
        in_channels=48,
        channels=48,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0,
    ),
)
