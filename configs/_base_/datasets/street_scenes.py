# Synthetic scenes in the Cityscapes layout, made by tools/dataset_converters/street_scenes.py.
_base_ = "./cityscapes.py"
data_root = "data/street_scenes/"
crop_size = (128, 256)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", num_classes=19),
    dict(type="RandomResize", scale=(512, 256), ratio_range=(0.5, 1.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", num_classes=19),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=8, num_workers=2, dataset=dict(data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(num_workers=2, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
