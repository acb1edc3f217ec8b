_base_ = [
    "../_base_/models/denseaspp.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_30k.py",
]
crop_size = (512, 512)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", num_classes=19),
    dict(type="RandomResize", scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomBrightness", delta=10),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(
        type="Resize",
        scale_factor=ratio,
        keep_ratio=True,
        backend="pillow",
        interpolation="bicubic",
    )
    for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.8)
]
tta_model = dict(type="LogitSegTTAModel")
model = dict(
    # Statistics of Cityscapes, with which the authors' models were trained.
    data_preprocessor=dict(
        size=crop_size, mean=[73.976, 83.661, 73.176], std=[46.653, 47.574, 47.041]
    ),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="Adam", lr=0.0003, weight_decay=0.00001),
)
