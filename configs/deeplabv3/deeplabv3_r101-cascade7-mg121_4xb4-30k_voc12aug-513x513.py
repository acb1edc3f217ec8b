_base_ = "./deeplabv3_r101-mg124_4xb4-30k_voc12aug-513x513.py"
# Blocks 5 to 7 in place of the pyramid. The paper leaves the classifier open; this is a 1x1 conv.
model = dict(
    backbone=dict(num_blocks=7, multi_grid=(1, 2, 1), out_indices=(6,)),
    decode_head=dict(
        _delete_=True,
        type="FCNHead",
        in_channels=2048,
        in_index=0,
        channels=2048,
        num_convs=0,
        kernel_size=1,
        concat_input=False,
        dropout_ratio=0,
        num_classes=21,
        align_corners=True,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ),
)
