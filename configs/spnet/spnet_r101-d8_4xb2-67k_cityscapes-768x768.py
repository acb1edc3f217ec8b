_base_ = [
    "../_base_/models/spnet_r50-d8.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_20k.py",
]
# The authors' recipe of today; their 180 epochs are 66.8k iterations.
crop_size = (768, 768)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", num_classes=19),
    dict(type="RandomRelativeResize", ratio_range=(0.5, 1.75)),
    dict(type="RandomRotate", prob=0.5, degree=1, pad_val=(104, 116, 124), seg_pad_val=255),
    dict(type="RandomGaussianBlur", prob=0.5),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="PackSegInputs"),
]
# The mirror images are the segmentor's.
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="TestTimeAug",
        transforms=[
            [
                dict(type="Resize", scale=(side, side), keep_ratio=True)
                for side in (1024, 1536, 2048, 2560, 3072, 3584)
            ],
            [dict(type="LoadAnnotations", num_classes=19)],
            [dict(type="PackSegInputs")],
        ],
    ),
]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(depth=101, init_cfg=dict(checkpoint="pretrained/encoding_resnet101.pth")),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19),
    test_cfg=dict(crop_size=crop_size, stride=(512, 512)),
)
optim_wrapper = dict(
    optimizer=dict(lr=0.005, weight_decay=0.0001),
    paramwise_cfg=dict(custom_keys={"head": dict(lr_mult=10.0)}),
)
param_scheduler = [dict(type="PolyLR", eta_min=0, power=0.9, begin=0, end=67000, by_epoch=False)]
train_cfg = dict(max_iters=67000, val_interval=6700)
default_hooks = dict(checkpoint=dict(interval=6700))
