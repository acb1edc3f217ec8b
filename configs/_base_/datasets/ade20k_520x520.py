# The recipe of the HRNet authors.
_base_ = "./ade20k.py"
crop_size = (520, 520)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", num_classes=150),
    # The long side is 520 times 0.5, 0.6, .. 1.6.
    dict(
        type="RandomChoiceResize",
        scales=[(52 * s, 52 * s) for s in range(5, 17)],
        resize_type="Resize",
        keep_ratio=True,
    ),
    dict(type="RandomCrop", crop_size=crop_size),
    # Black before the normalisation.
    dict(type="Pad", size=crop_size, pad_val=dict(img=0, seg=255)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(520, 520), keep_ratio=True),
    dict(type="LoadAnnotations", num_classes=150),
    dict(type="PackSegInputs"),
]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="TestTimeAug",
        transforms=[
            [
                dict(type="Resize", scale=(130 * s, 130 * s), keep_ratio=True)
                for s in range(2, 9)  # 0.5, 0.75, .. 2 of 520
            ],
            [
                dict(type="RandomFlip", prob=0.0, direction="horizontal"),
                dict(type="RandomFlip", prob=1.0, direction="horizontal"),
            ],
            [dict(type="LoadAnnotations", num_classes=150)],
            [dict(type="PackSegInputs")],
        ],
    ),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
