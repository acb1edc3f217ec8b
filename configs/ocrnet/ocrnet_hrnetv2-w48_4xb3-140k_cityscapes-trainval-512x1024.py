_base_ = "./ocrnet_hrnetv2-w48_4xb3-120k_cityscapes-512x1024.py"
# Continues on train and val what was trained on train: give load_from. 484 epochs, about 140k
# iterations. Validation measures images that were trained on; the test set has no labels.
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[
            _base_.train_dataloader.dataset,
            dict(_base_.val_dataloader.dataset, pipeline=_base_.train_pipeline),
        ],
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.001))
param_scheduler = [dict(type="PolyLR", eta_min=0, power=0.9, begin=0, end=140000, by_epoch=False)]
train_cfg = dict(max_iters=140000, val_interval=14000)
default_hooks = dict(checkpoint=dict(interval=14000))
