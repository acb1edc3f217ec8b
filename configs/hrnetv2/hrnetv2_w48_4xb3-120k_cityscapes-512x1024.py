_base_ = [
    '../_base_/models/hrnetv2.py',
    '../_base_/datasets/cityscapes.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/schedule_120k.py',
]
# 120k iterations as in the paper; the authors' code runs 484 epochs, about 119.5k.
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    decode_head=dict(
        loss_decode=dict(
            class_weight=[
                0.8373, 0.9180, 0.8660, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023,
                0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507,
            ]
        )
    ),
)
