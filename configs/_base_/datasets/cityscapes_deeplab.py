# As DeepLab's authors train and test: scales, crops of 769, whole images padded to 1025 x 2049.
_base_ = "./cityscapes.py"
crop_size = (769, 769)
test_size = (1025, 2049)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", num_classes=19),
    # Scales 0.5, 0.75, .. 2 of the image.
    dict(
        type="RandomChoice",
        transforms=[
            [dict(type="Resize", scale_factor=quarters / 4, keep_ratio=True)]
            for quarters in range(2, 9)
        ],
    ),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type="Resize", scale_factor=quarters / 4, keep_ratio=True) for quarters in (3, 4, 5)
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
