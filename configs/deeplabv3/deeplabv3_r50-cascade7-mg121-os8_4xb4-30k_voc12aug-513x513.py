_base_ = "./deeplabv3_r50-cascade7-mg121_4xb4-30k_voc12aug-513x513.py"
# Evaluates the checkpoint of its base, which is trained at output stride 16.
model = dict(output_stride=8)
