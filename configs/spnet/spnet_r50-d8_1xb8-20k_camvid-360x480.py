_base_ = [
    "../_base_/models/spnet_r50-d8.py",
    "../_base_/datasets/camvid.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_20k.py",
]
# Our recipe. The narrower stem, for which ImageNet weights can be downloaded, is a cheaper network
# than the authors'.
model = dict(
    type="FusedEncoderDecoder",
    data_preprocessor=dict(size={{_base_.crop_size}}),
    backbone=dict(stem_channels=64, init_cfg=dict(checkpoint="open-mmlab://resnet50_v1c")),
    decode_head=dict(num_classes=11),
    auxiliary_head=dict(num_classes=11),
    test_cfg=dict(_delete_=True, mode="whole"),
)
