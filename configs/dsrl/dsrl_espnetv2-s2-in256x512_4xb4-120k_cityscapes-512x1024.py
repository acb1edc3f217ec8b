_base_ = [
    "../_base_/models/dsrl_espnetv2.py",
    "../_base_/datasets/cityscapes_512x1024.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_120k.py",
]
model = dict(data_preprocessor=dict(size={{_base_.crop_size}}))
new_layers = dict(lr_mult=10.0)
optim_wrapper = dict(
    optimizer=dict(lr=0.009, weight_decay=4e-5),
    paramwise_cfg=dict(
        custom_keys=dict(
            decode_head=new_layers,
            sssr=new_layers,
            sisr_head=new_layers,
            feature_transform=new_layers,
        )
    ),
)
