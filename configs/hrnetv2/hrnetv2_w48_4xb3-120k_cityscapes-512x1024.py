_base_ = [
    "../_base_/models/hrnetv2.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_120k.py",
]
# 120k iterations as in the paper; the authors' code runs 484 epochs, about 119.5k.
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    decode_head=dict(loss_decode=dict(class_weight={{_base_.class_weight}})),
)
tta_model = dict(type="HRNetSegTTAModel")
