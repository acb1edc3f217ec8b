_base_ = "./hrnetv2_w48_4xb3-120k_cityscapes-512x1024.py"
# All four streams from stage 2 on, from scratch. The paper tunes the width to the cost of W48
# without printing it; with 42 the multiply-adds at 1024 x 2048 are 749.2 G, W48's 747.5 G.
model = dict(
    backbone=dict(
        arch=None,
        init_cfg=None,
        extra=dict(
            stage1=dict(
                num_modules=1,
                num_branches=1,
                block="BOTTLENECK",
                num_blocks=(4,),
                num_channels=(64,),
            ),
            **{
                stage: dict(
                    num_modules=num_modules,
                    num_branches=4,
                    block="BASIC",
                    num_blocks=(4, 4, 4, 4),
                    num_channels=(42, 84, 168, 336),
                )
                for stage, num_modules in (("stage2", 1), ("stage3", 4), ("stage4", 3))
            },
        ),
    ),
    decode_head=dict(in_channels=(42, 84, 168, 336)),
)
