_base_ = [
    "../_base_/models/dsrl_deeplabv3plus_r101.py",
    "../_base_/datasets/cityscapes_512x1024.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_120k.py",
]
model = dict(data_preprocessor=dict(size={{_base_.crop_size}}))
