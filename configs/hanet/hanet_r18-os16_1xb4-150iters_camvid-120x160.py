_base_ = "./hanet_r50-os16_1xb8-20k_camvid-360x480.py"
# A comparison for two CPU cores: minutes from random weights at a third of the size.
crop_size = (120, 160)
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (160, 120)
train_pipeline[4].crop_size = crop_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (160, 120)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type="Resize", scale=(40 * quarters, 30 * quarters), keep_ratio=True)
    for quarters in range(2, 8)
]
model = dict(
    data_preprocessor=dict(size=crop_size),
    height_attention=dict(
        places=[
            dict(
                source="backbone.layer3",
                target="backbone.layer4",
                low_channels=256,
                high_channels=512,
            ),
            dict(
                source="backbone.layer4",
                target="decode_head.bottleneck:in",
                low_channels=512,
                high_channels=1280,
            ),
            dict(
                source="decode_head.bottleneck:in",
                target="decode_head.bottleneck",
                low_channels=1280,
                high_channels=256,
            ),
            dict(
                source="decode_head.fuse:in",
                target="decode_head.fuse",
                low_channels=304,
                high_channels=256,
            ),
        ],
    ),
    backbone=dict(depth=18, init_cfg=None),
    decode_head=dict(in_channels=512, c1_in_channels=64),
    auxiliary_head=dict(in_channels=256),
)
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = [dict(type="PolyLR", eta_min=0, power=0.9, begin=0, end=150, by_epoch=False)]
train_cfg = dict(max_iters=150, val_interval=150)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=150))
randomness = dict(seed=0)
