"""PASCAL-Person-Part: people and their parts, 7 classes."""

from __future__ import annotations

from mmseg.registry import DATASETS

from .prepared import PreparedDataset


@DATASETS.register_module()
class PascalPersonPartDataset(PreparedDataset):
    """PASCAL-Person-Part (Chen et al., arXiv:1511.03339): 1,716 train and 1,817 test images.

    ``tools/dataset_converters/person_part.py`` makes the layout ``images/{train,val}/*.jpg`` and
    ``annotations/{train,val}/*.png`` with labels 0..6 and 255 for what has no class.

    Args:
        img_suffix (str): Default: ``'.jpg'``.
        **kwargs: As ``mmseg``'s ``BaseSegDataset``.

    Raises:
        FileNotFoundError: If the folder holds no images; says how to make it.
    """

    PREPARATION = """\
Get the label maps and lists of PASCAL-Person-Part and the images of PASCAL VOC 2010, and run
    python tools/dataset_converters/person_part.py pascal_person_part VOCdevkit/VOC2010 \\
        data/person_part"""
    METAINFO = dict(
        classes=(
            "background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs",
        ),
        palette=[
            [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128],
            [0, 128, 128],
        ],
    )  # fmt: skip

    def __init__(self, img_suffix: str = ".jpg", **kwargs) -> None:
        super().__init__(img_suffix=img_suffix, **kwargs)
