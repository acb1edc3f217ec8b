_base_ = [
    "../_base_/models/denseaspp.py",
    "../_base_/datasets/camvid.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_20k.py",
]
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    decode_head=dict(num_classes=11),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="Adam", lr=0.0003, weight_decay=0.00001),
)
