_base_ = "./hanet_r101-os8_2xb4-40k_cityscapes-768x768.py"
# For the test server: val is trained on, too, and its score says nothing.
crop_size = (864, 864)
loss = dict(class_weight=_base_.class_weight)
train_pipeline = _base_.train_pipeline
train_pipeline[4].crop_size = crop_size
train_set = dict(_base_.train_set, pipeline=train_pipeline)
val_prefix = dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val")
model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(loss_decode=loss),
    auxiliary_head=dict(loss_decode=loss),
)
train_dataloader = dict(
    batch_size=3,
    dataset=dict(
        datasets=[train_set, dict(train_set, data_prefix=val_prefix)],
        centroids_file="data/cityscapes/centroids_trainval.json",
    ),
)
param_scheduler = [dict(type="PolyLR", eta_min=0, power=0.9, begin=0, end=90000, by_epoch=False)]
train_cfg = dict(max_iters=90000, val_interval=9000)
default_hooks = dict(checkpoint=dict(interval=9000))
