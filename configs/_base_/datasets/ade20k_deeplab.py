# As DeepLab's authors train and test: the longer side 513, scales, crops of 513, whole images.
_base_ = "./ade20k.py"
crop_size = (513, 513)
test_size = (513, 513)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", num_classes=150),
    dict(type="Resize", scale=crop_size, keep_ratio=True),
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
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=crop_size, keep_ratio=True),
    dict(type="LoadAnnotations", num_classes=150),
    dict(type="PackSegInputs"),
]
# The longer side 257, 385, .. 897.
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type="Resize", scale=(128 * quarters + 1, 128 * quarters + 1), keep_ratio=True)
    for quarters in range(2, 8)
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
