# LIP, 20 classes. The recipe of the HRNet authors: an image is squashed to the crop's size.
dataset_type = "LIPDataset"
data_root = "data/LIP/"
crop_size = (473, 473)
# Left and right arm, leg and shoe, which a flip exchanges.
swap_labels = [(14, 15), (16, 17), (18, 19)]
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", num_classes=20),
    dict(type="Resize", scale=crop_size, keep_ratio=False),
    # The long side is 473 times 0.5, 0.6, .. 1.6.
    dict(
        type="RandomChoiceResize",
        scales=[((473 * s + 5) // 10, (473 * s + 5) // 10) for s in range(5, 17)],
        resize_type="Resize",
        keep_ratio=True,
    ),
    dict(type="RandomCrop", crop_size=crop_size),
    # Black before the normalisation.
    dict(type="Pad", size=crop_size, pad_val=dict(img=0, seg=255)),
    dict(type="RandomFlip", prob=0.5, swap_seg_labels=swap_labels),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=crop_size, keep_ratio=False),
    dict(type="LoadAnnotations", num_classes=20),
    dict(type="PackSegInputs"),
]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="Resize", scale=crop_size, keep_ratio=False)],
            [
                dict(type="RandomFlip", prob=0.0, direction="horizontal"),
                dict(type="RandomFlip", prob=1.0, direction="horizontal"),
            ],
            [dict(type="LoadAnnotations", num_classes=20)],
            [dict(type="PackSegInputs")],
        ],
    ),
]
train_dataloader = dict(
    batch_size=10,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path="train/images", seg_map_path="train/segmentations"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path="val/images", seg_map_path="val/segmentations"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
