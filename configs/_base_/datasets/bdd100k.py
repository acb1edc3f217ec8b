_base_ = "./cityscapes.py"  # the same 19 classes and the same mean and evaluation
dataset_type = "BDD100KDataset"
data_root = "data/bdd100k/"
crop_size = (608, 608)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", num_classes=19),
    dict(type="RandomResize", scale=(1280, 720), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(1280, 720), keep_ratio=True),
    dict(type="LoadAnnotations", num_classes=19),
    dict(type="PackSegInputs"),
]
# The 10k images with segmentation labels, laid out as mmseg prepares them.
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path="images/10k/train", seg_map_path="labels/sem_seg/masks/train"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path="images/10k/val", seg_map_path="labels/sem_seg/masks/val"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
