_base_ = "./cpnet_r50-d8_4xb4-80k_ade20k-480x480.py"
model = dict(
    decode_head=dict(aggregation=dict(type="mmseg_papers.models.layers.PyramidPooling")),
)
