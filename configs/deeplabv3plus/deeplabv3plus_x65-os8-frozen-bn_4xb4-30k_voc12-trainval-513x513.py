_base_ = "./deeplabv3plus_x65_4xb4-30k_voc12aug-513x513.py"
# The second step for the test server: from the weights of the first (load_from), batch norm frozen,
# at output stride 8, on train and val: val, which is evaluated, is trained on.
model = dict(output_stride=8, norm_eval=True)
optim_wrapper = dict(optimizer=dict(lr=0.001))
train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(
                type="PascalVOCDataset",
                data_root="data/VOCdevkit/VOC2012/",
                data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClass"),
                ann_file="ImageSets/Segmentation/trainval.txt",
                pipeline={{_base_.train_pipeline}},
            )
        ]
    )
)
