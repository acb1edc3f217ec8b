_base_ = "./dsrl_deeplabv3plus-r101-in256x512_4xb4-120k_cityscapes-512x1024.py"
# SSSR alone: the base network on half-size images with full-size labels. Also the first of three
# stages, each of which starts from the one before (load_from).
model = dict(sisr_head=None, feature_transform=None, loss_fa=None)
