_base_ = "./refinenet_r50_4xb2-60k_nyudv2-480x480.py"
# Two ResNets, on the image at 0.6 and 1.2 times its size; the pipeline enlarges by 1.2 already.
model = dict(
    backbone=dict(
        _delete_=True,
        type="MultiScaleBackbone",
        scales=(0.5, 1),
        backbone={{_base_.model.backbone}},
    ),
    decode_head=dict(num_scales=2),
)
