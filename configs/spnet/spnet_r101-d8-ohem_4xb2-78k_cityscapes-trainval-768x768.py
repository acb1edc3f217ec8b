_base_ = "./spnet_r101-d8_4xb2-67k_cityscapes-768x768.py"
# Data, loss and augmentation of the repository's first commit, on today's network: train and val,
# OHEM with class weights, no rotation; 180 epochs are 78.2k iterations. Validation measures images
# that were trained on.
train_pipeline = [step for step in _base_.train_pipeline if step.type != "RandomRotate"]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[
            dict(_base_.train_dataloader.dataset, pipeline=train_pipeline),
            dict(_base_.val_dataloader.dataset, pipeline=train_pipeline),
        ],
    ),
)
loss = dict(type="ProbOhemCrossEntropyLoss", class_weight={{_base_.class_weight}})
model = dict(
    decode_head=dict(loss_decode=dict(loss, _delete_=True)),
    auxiliary_head=dict(loss_decode=dict(loss, loss_weight=0.4, _delete_=True)),
)
param_scheduler = [dict(type="PolyLR", eta_min=0, power=0.9, begin=0, end=78000, by_epoch=False)]
train_cfg = dict(max_iters=78000, val_interval=7800)
default_hooks = dict(checkpoint=dict(interval=7800))
