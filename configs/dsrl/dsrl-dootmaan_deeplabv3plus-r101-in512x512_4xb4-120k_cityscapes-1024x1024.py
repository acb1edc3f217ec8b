_base_ = "./dsrl_deeplabv3plus-r101-in256x512_4xb4-120k_cityscapes-512x1024.py"
# Loads the weights of Dootmaan/DSRL, branch main, and trains with its losses.
crop_size = (1024, 1024)
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=(2048, 1024))
train_pipeline[3].update(crop_size=crop_size)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(2048, 1024))
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type="Resize", scale=(512 * quarters, 256 * quarters), keep_ratio=True)
    for quarters in range(2, 8)
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(size=crop_size),
    sssr=dict(type="BilinearSSSR"),
    sisr_head=dict(upsampler="deconv", loss_weight=0.5),
    feature_transform=dict(out_channels=3),
    loss_fa=dict(normalize=False, reduction="sum", loss_weight=0.5),
    fa_source="output",
)
new_layers = dict(lr_mult=10.0)
optim_wrapper = dict(
    optimizer=dict(lr=0.02, weight_decay=1e-4),
    paramwise_cfg=dict(
        custom_keys=dict(
            neck=new_layers,
            decode_head=new_layers,
            sisr_head=new_layers,
            feature_transform=new_layers,
        )
    ),
)
