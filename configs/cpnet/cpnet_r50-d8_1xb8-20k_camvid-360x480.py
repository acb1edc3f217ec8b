_base_ = [
    "../_base_/models/cpnet_r50-d8.py",
    "../_base_/datasets/camvid.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_20k.py",
]
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}, test_cfg=dict(size={{_base_.crop_size}})),
    decode_head=dict(num_classes=11, prior_size=(45, 60)),
    auxiliary_head=dict(num_classes=11),
    test_cfg=dict(crop_size={{_base_.crop_size}}, stride=(240, 320)),
)
