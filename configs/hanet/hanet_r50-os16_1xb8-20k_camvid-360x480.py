_base_ = [
    "../_base_/models/hanet.py",
    "../_base_/datasets/camvid.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_20k.py",
]
# Positions: before the crop, and into the batch.
train_pipeline = _base_.train_pipeline
train_pipeline.insert(3, dict(type="AddRowPosition"))
train_pipeline[-1] = dict(type="PackRowPosition")
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    decode_head=dict(num_classes=11),
    auxiliary_head=dict(num_classes=11),
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# The authors' second optimizer: weight decay 1e-4 for the attention, 5e-4 for the rest.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(height_attention=dict(decay_mult=0.2))))
