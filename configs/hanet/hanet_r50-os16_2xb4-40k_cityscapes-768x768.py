_base_ = [
    "../_base_/models/hanet.py",
    "../_base_/datasets/cityscapes_class_uniform.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_40k.py",
]
model = dict(data_preprocessor=dict(size={{_base_.crop_size}}))
# The authors' second optimizer: weight decay 1e-4 for the attention, 5e-4 for the rest.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(height_attention=dict(decay_mult=0.2))))
tta_model = dict(type="LogitSegTTAModel")
