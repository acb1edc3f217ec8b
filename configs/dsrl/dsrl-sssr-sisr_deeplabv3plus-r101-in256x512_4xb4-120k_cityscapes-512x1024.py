_base_ = "./dsrl_deeplabv3plus-r101-in256x512_4xb4-120k_cityscapes-512x1024.py"
# SSSR and SISR without feature affinity.
model = dict(feature_transform=None, loss_fa=None)
