_base_ = "./espnetv2.py"
norm_cfg = {{_base_.norm_cfg}}
model = dict(
    type="DSRLEncoderDecoder",
    sssr=dict(type="DeconvSSSR", num_deconvs=2, norm_cfg=norm_cfg),
    sisr_head=dict(
        type="SISRHead",
        in_channels=(128, 256, 512),
        in_index=(1, 2, 3),
        upsampler="espcn",
        scale_factor=8,
        loss_weight=0.1,
    ),
    feature_transform=dict(out_channels=32, norm_cfg=norm_cfg),
    loss_fa=dict(type="FeatureAffinityLoss", p=1, grid_stride=16, loss_weight=1.0),
)
