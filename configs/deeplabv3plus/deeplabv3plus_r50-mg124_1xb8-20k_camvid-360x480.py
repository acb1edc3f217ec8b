_base_ = "../deeplabv3/deeplabv3_r50-mg124_1xb8-20k_camvid-360x480.py"
model = dict(decode_head=dict(type="DeepLabV3PlusHead"))
