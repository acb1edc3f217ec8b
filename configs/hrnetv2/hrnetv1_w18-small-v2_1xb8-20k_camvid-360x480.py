_base_ = "./hrnetv2_w18-small-v2_1xb8-20k_camvid-360x480.py"
model = dict(
    backbone=dict(multiscale_output=False),
    decode_head=dict(
        type="FCNHead",
        in_index=0,
        in_channels=18,
        channels=18,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0,
    ),
)
