_base_ = [
    "../_base_/models/ocrnet_hrnetv2.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_120k.py",
]
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    decode_head=[
        dict(head, loss_decode=dict(head.loss_decode, class_weight=_base_.class_weight))
        for head in _base_.model.decode_head
    ],
)
tta_model = dict(type="HRNetSegTTAModel")
