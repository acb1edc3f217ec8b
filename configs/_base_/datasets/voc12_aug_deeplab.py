# As DeepLab's authors train and test: scales, crops of 513, whole images padded to 513 x 513.
_base_ = "./voc12_aug.py"
crop_size = (513, 513)
test_size = (513, 513)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", num_classes=21),
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
    dict(type="LoadAnnotations", num_classes=21),
    dict(type="PackSegInputs"),
]
# 0.5, 0.75, .. 1.75 of the image.
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type="Resize", scale_factor=quarters / 4, keep_ratio=True) for quarters in range(2, 8)
]
train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(
                type="PascalVOCDataset",
                data_root="data/VOCdevkit/VOC2012/",
                data_prefix=dict(img_path="JPEGImages", seg_map_path=folder),
                ann_file=f"ImageSets/Segmentation/{split}.txt",
                pipeline=train_pipeline,
            )
            for split, folder in (("train", "SegmentationClass"), ("aug", "SegmentationClassAug"))
        ]
    )
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
