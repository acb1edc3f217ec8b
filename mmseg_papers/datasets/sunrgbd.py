"""SUN RGB-D: indoor scenes, 37 classes."""

from __future__ import annotations

from mmseg.registry import DATASETS

from .prepared import PreparedDataset


@DATASETS.register_module()
class SUNRGBDDataset(PreparedDataset):
    """SUN RGB-D with its 37 classes: 5,285 train and 5,050 test images.

    ``tools/dataset_converters/sunrgbd.py`` makes the layout ``images/{train,test}/*.jpg`` and
    ``annotations/{train,test}/*.png`` with labels 0..36 and 255 for what has no class.

    Args:
        img_suffix (str): Default: ``'.jpg'``.
        **kwargs: As ``mmseg``'s ``BaseSegDataset``.

    Raises:
        FileNotFoundError: If the folder holds no images; says how to make it.
    """

    PREPARATION = """\
Get SUNRGBD.zip and SUNRGBDtoolbox.zip of the data set's page, unpack both into one folder, and run
    python tools/dataset_converters/sunrgbd.py THAT_FOLDER data/sunrgbd"""
    METAINFO = dict(
        classes=(
            "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window",
            "bookshelf", "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser",
            "pillow", "mirror", "floor mat", "clothes", "ceiling", "books", "fridge", "tv",
            "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand",
            "toilet", "sink", "lamp", "bathtub", "bag",
        ),
        palette=[
            [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128],
            [128, 128, 128], [64, 0, 0], [192, 0, 0], [64, 128, 0], [192, 128, 0], [64, 0, 128],
            [192, 0, 128], [64, 128, 128], [192, 128, 128], [0, 64, 0], [128, 64, 0], [0, 192, 0],
            [128, 192, 0], [0, 64, 128], [128, 64, 128], [0, 192, 128], [128, 192, 128],
            [64, 64, 0], [192, 64, 0], [64, 192, 0], [192, 192, 0], [64, 64, 128],
            [192, 64, 128], [64, 192, 128], [192, 192, 128], [0, 0, 64], [128, 0, 64],
            [0, 128, 64], [128, 128, 64], [0, 0, 192], [128, 0, 192],
        ],
    )  # fmt: skip

    def __init__(self, img_suffix: str = ".jpg", **kwargs) -> None:
        super().__init__(img_suffix=img_suffix, **kwargs)
