_base_ = [
    "../_base_/models/spnet_r50-d8.py",
    "../_base_/datasets/pascal_context_59.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_20k.py",
]
# The authors published no recipe: crop, batch and augmentation as for ADE20K; 100 epochs (31.2k
# iterations) and the learning rate are said to be the paper's and were not confirmed.
crop_size = (480, 480)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", num_classes=59),
    dict(type="RandomRelativeResize", ratio_range=(0.5, 2.0)),
    dict(type="RandomRotate", prob=0.5, degree=10, pad_val=(104, 116, 124), seg_pad_val=255),
    dict(type="RandomGaussianBlur", prob=0.5),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(512, 512), keep_ratio=True),
    dict(type="LoadAnnotations", num_classes=59),
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
                for side in (256, 384, 512, 640, 768, 896)
            ],
            [dict(type="LoadAnnotations", num_classes=59)],
            [dict(type="PackSegInputs")],
        ],
    ),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(depth=101, init_cfg=dict(checkpoint="pretrained/encoding_resnet101.pth")),
    decode_head=dict(num_classes=59),
    auxiliary_head=dict(num_classes=59),
)
optim_wrapper = dict(
    optimizer=dict(lr=0.001, weight_decay=0.0001),
    paramwise_cfg=dict(custom_keys={"head": dict(lr_mult=10.0)}),
)
param_scheduler = [dict(type="PolyLR", eta_min=0, power=0.9, begin=0, end=31000, by_epoch=False)]
train_cfg = dict(max_iters=31000, val_interval=3100)
default_hooks = dict(checkpoint=dict(interval=3100))
