_base_ = [
    "../_base_/models/deeplabv3plus.py",
    "../_base_/datasets/cityscapes_deeplab.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/deeplab_90k.py",
]
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}, test_cfg=dict(size={{_base_.test_size}})),
)
optim_wrapper = dict(optimizer=dict(weight_decay=0.00004))
