_base_ = "./hanet_r101-os8-trainval_4xb3-90k_cityscapes-864x864.py"
# The authors start from their baseline trained on Mapillary Vistas (load_from); rare classes are
# also shown in images with coarse labels: fence, wall, rider, truck, bus, train, motorcycle.
coarse_prefix = dict(img_path="leftImg8bit/train_extra", seg_map_path="gtCoarse/train_extra")
model = dict(
    backbone=dict(
        _delete_=True,
        type="ResNeXt",
        depth=101,
        groups=32,
        base_width=8,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        init_cfg=dict(type="Pretrained", checkpoint="mmcls://resnext101_32x8d"),
    ),
)
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        extra_dataset=dict(
            _base_.train_set,
            data_prefix=coarse_prefix,
            seg_map_suffix="_gtCoarse_labelTrainIds.png",
        ),
        extra_classes=(3, 4, 12, 14, 15, 16, 17),
        centroids_file="data/cityscapes/centroids_trainval_coarse.json",
    ),
)
