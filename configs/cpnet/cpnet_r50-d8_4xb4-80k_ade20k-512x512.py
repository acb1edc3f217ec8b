_base_ = "./cpnet_r50-d8_4xb4-80k_ade20k-480x480.py"
# The crop of the authors' only config.
crop_size = (512, 512)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", num_classes=150),
    dict(
        type="RandomChoiceResize",
        scales=[(int(2048 * s), int(512 * s)) for s in (0.5, 0.75, 1.0, 1.5, 1.75, 2.0)],
        resize_type="Resize",
        keep_ratio=True,
    ),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(
    data_preprocessor=dict(size=crop_size, test_cfg=dict(size=crop_size)),
    decode_head=dict(prior_size=(64, 64)),
    test_cfg=dict(crop_size=crop_size, stride=(341, 341)),
)
