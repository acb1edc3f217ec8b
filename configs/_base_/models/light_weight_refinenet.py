_base_ = "./refinenet.py"
model = dict(decode_head=dict(type="LightWeightRefineNetHead"))
