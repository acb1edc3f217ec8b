# As for Cityscapes; an image of 720 rows holds whole tiles of 720 pixels, none of 1024.
_base_ = "./bdd100k.py"
crop_size = {{_base_.crop_size}}
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", num_classes=19),
    dict(
        type="RandomResize",
        scale=(1280, 720),
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
train_dataloader = dict(
    sampler=dict(_delete_=True, type="ClassUniformSampler"),
    dataset=dict(
        _delete_=True,
        type="ClassUniformDataset",
        datasets=[
            dict(
                type="BDD100KDataset",
                data_root="data/bdd100k/",
                data_prefix=dict(
                    img_path="images/10k/train", seg_map_path="labels/sem_seg/masks/train"
                ),
                pipeline=train_pipeline,
            )
        ],
        tile_size=720,
        centroids_file="data/bdd100k/centroids_train.json",
    ),
)
