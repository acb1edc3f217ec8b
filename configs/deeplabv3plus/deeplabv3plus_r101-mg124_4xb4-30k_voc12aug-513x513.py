_base_ = [
    "../_base_/models/deeplabv3.py",
    "../_base_/datasets/voc12_aug_deeplab.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/deeplab_30k.py",
]
# The decoder of dense convs is that of the paper's ResNet rows (table 3).
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}, test_cfg=dict(size={{_base_.test_size}})),
    decode_head=dict(type="DeepLabV3PlusHead", separable=False, num_classes=21),
)
