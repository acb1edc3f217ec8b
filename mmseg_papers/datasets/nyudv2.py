"""NYU Depth v2: indoor scenes, 40 classes."""

from __future__ import annotations

from mmseg.registry import DATASETS

from .prepared import PreparedDataset


@DATASETS.register_module()
class NYUDv2Dataset(PreparedDataset):
    """NYU Depth v2 with the 40 classes of Gupta et al.: 795 train and 654 test images.

    ``tools/dataset_converters/nyudv2.py`` makes the layout ``images/{train,test}/*.png`` and
    ``annotations/{train,test}/*.png`` with labels 0..39 and 255 for what has no class. (``mmseg``'s
    ``NYUDataset`` is depth estimation.)

    Args:
        **kwargs: As ``mmseg``'s ``BaseSegDataset``.

    Raises:
        FileNotFoundError: If the folder holds no images; says how to make it.
    """

    PREPARATION = """\
Get nyu_depth_v2_labeled.mat and splits.mat of the data set's page and classMapping40.mat, and run
    python tools/dataset_converters/nyudv2.py FOLDER_WITH_THEM data/nyudv2"""
    METAINFO = dict(
        classes=(
            "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window",
            "bookshelf", "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser",
            "pillow", "mirror", "floor mat", "clothes", "ceiling", "books", "refrigerator",
            "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person",
            "night stand", "toilet", "sink", "lamp", "bathtub", "bag", "other structure",
            "other furniture", "other prop",
        ),
        palette=[
            [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128],
            [128, 128, 128], [64, 0, 0], [192, 0, 0], [64, 128, 0], [192, 128, 0], [64, 0, 128],
            [192, 0, 128], [64, 128, 128], [192, 128, 128], [0, 64, 0], [128, 64, 0], [0, 192, 0],
            [128, 192, 0], [0, 64, 128], [128, 64, 128], [0, 192, 128], [128, 192, 128],
            [64, 64, 0], [192, 64, 0], [64, 192, 0], [192, 192, 0], [64, 64, 128],
            [192, 64, 128], [64, 192, 128], [192, 192, 128], [0, 0, 64], [128, 0, 64],
            [0, 128, 64], [128, 128, 64], [0, 0, 192], [128, 0, 192], [0, 128, 192],
            [128, 128, 192], [64, 0, 64],
        ],
    )  # fmt: skip
