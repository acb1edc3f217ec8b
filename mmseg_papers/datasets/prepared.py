"""Data sets whose absence is an error that says how to get them."""

from __future__ import annotations

from pathlib import Path

from mmseg.datasets import BaseSegDataset


class PreparedMixin:
    """Refuses an empty or missing folder with the way to fill it, before ``BaseSegDataset``.

    MMEngine alone says that an array is missing, or names a path without a cure. Subclasses give
    :attr:`PREPARATION`. Remote storage (``backend_args``) is not looked into.
    """

    #: Where the data come from and the command that prepares them.
    PREPARATION: str

    def load_data_list(self) -> list[dict]:
        """List the images.

        Returns:
            list[dict]: As ``BaseSegDataset.load_data_list``.

        Raises:
            FileNotFoundError: If the list or folder is missing, the folder holds no images, or the
                first of them has no label map for the pipeline to load.
        """
        if self.backend_args:
            return super().load_data_list()
        folder, listing = Path(self.data_prefix["img_path"]).absolute(), self.ann_file
        if listing and not Path(listing).is_file():
            raise self._absence(f"no list {Path(listing).absolute()}")
        found = super().load_data_list() if folder.is_dir() else []
        if not found:
            raise self._absence(f"no *{self.img_suffix} images in {folder}")
        label_map = found[0].get("seg_map_path")
        # The text also names the steps inside others, such as TestTimeAug.
        loads_labels = "LoadAnnotations" in repr(self.pipeline)
        if label_map is not None and loads_labels and not Path(label_map).exists():
            raise self._absence(f"no label map {label_map} of image {found[0]['img_path']}")
        return found

    def _absence(self, what: str) -> FileNotFoundError:
        return FileNotFoundError(
            f"{what}.\n{self.PREPARATION}\nOr set data_root to where the data lie."
        )


class PreparedDataset(PreparedMixin, BaseSegDataset):
    """A data set in a layout that a script of ours makes.

    Subclasses give :attr:`METAINFO` and :attr:`PREPARATION`.

    Args:
        img_suffix (str): Suffix of the images. Default: ``'.png'``.
        seg_map_suffix (str): Suffix of the label maps. Default: ``'.png'``.
        **kwargs: As ``mmseg``'s ``BaseSegDataset``.

    Raises:
        FileNotFoundError: If the folder holds no images.
    """

    def __init__(self, img_suffix: str = ".png", seg_map_suffix: str = ".png", **kwargs) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    def _absence(self, what: str) -> FileNotFoundError:
        error = super()._absence(what)
        return FileNotFoundError(f"{error} (Without a clone: python -m mmseg_papers run ...)")
