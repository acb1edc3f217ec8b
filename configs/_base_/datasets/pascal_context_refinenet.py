# As RefineNet's authors train and test, with images enlarged by 1.2 here and not in the network;
# short side 450 before.
_base_ = "./pascal_context.py"
crop_size = {{_base_.crop_size}}
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", num_classes=60),
    # Scales 0.7, 0.8 .. 1.3, and 1.2 times that, the network's scale.
    dict(
        type="RandomChoiceResize",
        scales=[(4096, 450 * 12 * s // 100) for s in range(7, 14)],
        resize_type="Resize",
        keep_ratio=True,
    ),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(4096, 450 * 96 // 100), keep_ratio=True),
    dict(type="LoadAnnotations", num_classes=60),
    dict(type="PackSegInputs"),
]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="TestTimeAug",
        transforms=[
            [
                dict(type="Resize", scale=(4096, 450 * 12 * s // 100), keep_ratio=True)
                for s in (4, 6, 8, 10, 12)
            ],
            [dict(type="LoadAnnotations", num_classes=60)],
            [dict(type="PackSegInputs")],
        ],
    ),
]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
