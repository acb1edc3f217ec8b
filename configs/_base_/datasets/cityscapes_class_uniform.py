# HANet's training data: half of the crops lie around a class, and every row knows its position.
_base_ = "./cityscapes.py"
crop_size = (768, 768)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", num_classes=19),
    dict(
        type="RandomResize",
        scale=(2048, 1024),
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
        backend="pillow",
        interpolation="bicubic",
    ),
    dict(type="AddRowPosition"),
    dict(type="CentroidCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="ColorJitter"),
    dict(type="GaussianBlur"),
    dict(type="PackRowPosition"),
]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="Resize", scale_factor=ratio, keep_ratio=True) for ratio in (0.5, 1.0, 2.0)],
            [
                dict(type="RandomFlip", prob=0.0, direction="horizontal"),
                dict(type="RandomFlip", prob=1.0, direction="horizontal"),
            ],
            [dict(type="LoadAnnotations", num_classes=19)],
            [dict(type="PackSegInputs")],
        ],
    ),
]
train_set = dict(
    type="CityscapesDataset",
    data_root="data/cityscapes/",
    data_prefix=dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train"),
    pipeline=train_pipeline,
)
train_dataloader = dict(
    batch_size=4,
    sampler=dict(_delete_=True, type="ClassUniformSampler"),
    dataset=dict(
        _delete_=True,
        type="ClassUniformDataset",
        datasets=[train_set],
        centroids_file="data/cityscapes/centroids_train.json",
    ),
)
