_base_ = [
    "../_base_/models/ocrnet_r101-d8.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_40k.py",
]
# openseg.pytorch's R_101_D_8: batch 8, 40k iterations. The crop is ours, as of the HRNets.
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    decode_head=[
        dict(head, loss_decode=dict(head.loss_decode, class_weight=_base_.class_weight))
        for head in _base_.model.decode_head
    ],
)
train_dataloader = dict(batch_size=2)
