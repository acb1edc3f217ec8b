_base_ = "./dsrl-dootmaan_deeplabv3plus-r101-in512x512_4xb4-120k_cityscapes-1024x1024.py"
# Branch subpixel.
model = dict(sisr_head=dict(upsampler="espcn", scale_factor=2))
