_base_ = "./dsrl_deeplabv3plus-r101-in256x512_4xb4-120k_cityscapes-512x1024.py"
crop_size = (768, 1536)
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=(1536, 768))
train_pipeline[3].update(crop_size=crop_size)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(1536, 768))
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type="Resize", scale=(384 * quarters, 192 * quarters), keep_ratio=True)
    for quarters in range(2, 8)
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(data_preprocessor=dict(size=crop_size))
