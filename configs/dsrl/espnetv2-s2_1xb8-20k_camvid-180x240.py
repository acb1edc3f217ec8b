_base_ = [
    "../_base_/models/espnetv2.py",
    "../_base_/datasets/camvid.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_20k.py",
]
# The baseline without super-resolution; its images and labels are as large as its input.
crop_size = (180, 240)
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=(240, 180))
train_pipeline[3].update(crop_size=crop_size)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(240, 180))
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type="Resize", scale=(60 * quarters, 45 * quarters), keep_ratio=True)
    for quarters in range(2, 8)
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(num_classes=11, void_class=False),
)
