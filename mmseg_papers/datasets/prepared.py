"""Data sets in a layout that a script of ours makes."""

from __future__ import annotations

from pathlib import Path

from mmseg.datasets import BaseSegDataset


class PreparedDataset(BaseSegDataset):
    """A data set whose absence is an error that says how to prepare it.

    Subclasses give :attr:`METAINFO` and :attr:`PREPARATION`.

    Args:
        img_suffix (str): Suffix of the images. Default: ``'.png'``.
        seg_map_suffix (str): Suffix of the label maps. Default: ``'.png'``.
        **kwargs: As ``mmseg``'s ``BaseSegDataset``.

    Raises:
        FileNotFoundError: If the folder holds no images.
    """

    #: Where the data come from and the command that prepares them.
    PREPARATION: str

    def __init__(self, img_suffix: str = ".png", seg_map_suffix: str = ".png", **kwargs) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the images.

        Returns:
            list[dict]: As ``BaseSegDataset.load_data_list``.

        Raises:
            FileNotFoundError: If the folder holds no images.
        """
        folder = Path(self.data_prefix["img_path"])
        if not any(folder.glob(f"*{self.img_suffix}")):
            raise FileNotFoundError(
                f"no *{self.img_suffix} images in {folder.absolute()}.\n{self.PREPARATION}\n"
                "(without a clone: mim run mmseg_papers ...), or set data_root to where they lie."
            )
        return super().load_data_list()
