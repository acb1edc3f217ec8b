"""A data set of one's own: images and label maps in two folders, paired by name."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from operator import index
from pathlib import Path

import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

#: Image files, in lower case.
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".npy", ".png", ".tif", ".tiff", ".webp")
#: Label maps: formats without loss.
LABEL_SUFFIXES = (".bmp", ".npy", ".png", ".tif", ".tiff")


@DATASETS.register_module()
class FolderDataset(BaseSegDataset):
    """Images and their label maps under ``data_root``, paired by their names without suffix.

    Label maps hold a class index in each pixel, 255 where there is none. Two options read other
    files as they are: ``label_values`` those with other numbers, such as 0 and 255, and
    ``label_colors`` colour pictures.

    Args:
        classes (Sequence[str]): Names of the classes, in the order of their indices.
        palette (Sequence[Sequence[int]], optional): RGB of each class in pictures. Default:
            ``label_colors``, or colours that ``mmseg`` draws at random, always the same.
        label_values (Mapping[int, int] | Sequence[tuple[int, int]], optional): Value in the files
            -> class index, or 255 for none; values not named stay as they are. ``{0: 0, 255: 1}``
            or ``[(0, 0), (255, 1)]`` for masks of 0 and 255.
        label_colors (Sequence[Sequence[int]], optional): RGB of each class in the label maps, if
            these are colour pictures.
        void_colors (Sequence[Sequence[int]], optional): RGB of pixels without a class. Default:
            none.
        data_prefix (dict): ``img_path`` and ``seg_map_path``, folders below ``data_root``, searched
            with their sub-folders but no hidden ones. Without ``seg_map_path`` there are no labels.
        ann_file (str): Text file below ``data_root`` with the names of the pairs to use, without
            suffix, one a line. Default: all pairs.
        **kwargs: As ``mmseg``'s ``BaseSegDataset``, without suffixes.

    Raises:
        TypeError: If ``classes`` is a single string.
        ValueError: If names occur twice, colours are no RGB or not one a class, ``label_values``
            are no pairs of whole numbers, or options contradict each other.
        FileNotFoundError: If a folder holds no image, or files have no partner; names them.
    """

    def __init__(
        self,
        classes: Sequence[str],
        *,
        palette: Sequence[Sequence[int]] | None = None,
        label_values: Mapping[int, int] | Sequence[tuple[int, int]] | None = None,
        label_colors: Sequence[Sequence[int]] | None = None,
        void_colors: Sequence[Sequence[int]] | None = None,
        **kwargs,
    ) -> None:
        classes = class_names(classes)
        palette = _rgb("palette", palette)
        label_colors = _rgb("label_colors", label_colors)
        void_colors = _rgb("void_colors", void_colors) or []
        for option, colors in (("palette", palette), ("label_colors", label_colors)):
            if colors is not None and len(colors) != len(classes):
                raise ValueError(
                    f"{option} must have one colour for each of the {len(classes)} classes, "
                    f"got {len(colors)}"
                )
        if label_colors is not None and label_values is not None:
            raise ValueError("give label_colors or label_values, not both")
        if void_colors and label_colors is None:
            raise ValueError(
                "void_colors without label_colors does nothing; give label_colors, one RGB a "
                "class, or take it out"
            )
        if label_colors is not None and kwargs.get("reduce_zero_label"):
            raise ValueError(
                "reduce_zero_label=True with label_colors does nothing; take it out, and name "
                "colours without a class in void_colors"
            )
        try:
            pairs = label_values.items() if isinstance(label_values, Mapping) else label_values
            self.label_values = None if pairs is None else {index(v): index(i) for v, i in pairs}
        except (TypeError, ValueError) as error:
            raise ValueError(
                "label_values must hold pairs of value and class index, whole numbers, as in "
                f"[(0, 0), (255, 1)], got {label_values!r}"
            ) from error
        self.label_colors = None
        if label_colors is not None:
            self.label_colors = {color: i for i, color in enumerate(label_colors)}
            self.label_colors.update(dict.fromkeys(void_colors, 255))
            if len(self.label_colors) < len(label_colors) + len(void_colors):
                raise ValueError("label_colors and void_colors must differ from each other")
        metainfo = dict(classes=classes)
        if palette or label_colors:
            metainfo["palette"] = [list(color) for color in palette or label_colors]
        super().__init__(metainfo=metainfo, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Pair the files.

        Returns:
            list[dict]: As ``BaseSegDataset.load_data_list``, and ``label_colors``.

        Raises:
            FileNotFoundError: If there is no image, or a file has no partner.
        """
        image_folder = self.data_prefix["img_path"]
        images = files_by_name(image_folder, IMAGE_SUFFIXES)
        if not images:
            raise FileNotFoundError(
                f"no images in {image_folder} (looked for {', '.join(IMAGE_SUFFIXES)}). Set "
                "data_root to the folder that holds images/ and annotations/, or data_prefix"
            )
        labels = {}
        if label_folder := self.data_prefix.get("seg_map_path"):
            labels = files_by_name(label_folder, LABEL_SUFFIXES)
        if self.ann_file:
            images = self._listed(images, image_folder)
            labels = {name: file for name, file in labels.items() if name in images}
        if label_folder:
            without = sorted(images.keys() - labels.keys())
            if without:
                raise FileNotFoundError(
                    f"{len(without)} of {len(images)} images in {image_folder} have no label map "
                    f"of the same name in {label_folder}: {_some(without)}"
                    f"{_other_files(label_folder, without, LABEL_SUFFIXES)}. Add these, or take "
                    "the images out"
                )
            without = sorted(labels.keys() - images.keys())
            if without:
                raise FileNotFoundError(
                    f"{len(without)} of {len(labels)} label maps in {label_folder} have no image "
                    f"of the same name in {image_folder}: {_some(without)}"
                    f"{_other_files(image_folder, without, IMAGE_SUFFIXES)}. Add these, or take "
                    "the label maps out"
                )
        shared = dict(
            label_map=self.label_values,
            label_colors=self.label_colors,
            reduce_zero_label=self.reduce_zero_label,
        )
        return [
            dict(img_path=str(images[name]), **shared, seg_fields=[])
            | ({"seg_map_path": str(labels[name])} if labels else {})
            for name in sorted(images)
        ]

    def _listed(self, images: dict[str, Path], folder: str) -> dict[str, Path]:
        """The images that ``ann_file`` names."""
        names = [line.strip() for line in Path(self.ann_file).read_text("utf-8").splitlines()]
        names = [name for name in names if name]
        unknown = [name for name in names if name not in images]
        if unknown or not names:
            raise FileNotFoundError(
                f"ann_file {self.ann_file} names {len(unknown)} images that are not in {folder}: "
                f"{_some(unknown)}. It must have names without suffix, one a line"
                if names
                else f"ann_file {self.ann_file} is empty; give names without suffix, one a line"
            )
        return {name: images[name] for name in names}


def class_names(classes: Sequence[str]) -> tuple[str, ...]:
    """The names of classes.

    Args:
        classes (Sequence[str]): In the order of their indices.

    Returns:
        tuple[str, ...]: The same.

    Raises:
        TypeError: If they are a single string.
        ValueError: If one occurs twice.
    """
    if isinstance(classes, str):
        raise TypeError(
            f"classes must be a list of names, got the string {classes!r}; a single class "
            f"needs a comma: ({classes!r},)"
        )
    if len(set(classes)) < len(classes):
        raise ValueError(f"classes must differ from each other, got {tuple(classes)}")
    return tuple(classes)


def _rgb(option: str, colors: Sequence[Sequence[int]] | None) -> list[tuple[int, int, int]] | None:
    """The colours of an option as tuples of ints; lists and arrays may hold them."""
    if colors is None:
        return None
    found = []
    kinds = (Sequence, np.ndarray)
    for color in colors if isinstance(colors, kinds) and np.iterable(colors) else (colors,):
        try:
            rgb = tuple(map(index, color)) if isinstance(color, kinds) else ()
        except TypeError:
            rgb = ()
        if len(rgb) != 3 or not all(value in range(256) for value in rgb):
            raise ValueError(
                f"{option} must hold RGB colours of three whole numbers in 0..255, as in "
                f"[(0, 0, 0), (255, 0, 0)], got {color!r}"
            )
        found.append(rgb)
    return found


def files_by_name(folder: str | Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Files of a folder and its sub-folders by their names below it without suffix.

    Args:
        folder (str | Path): Where to look; links to folders are followed, and what is hidden by a
            dot before its name is left out.
        suffixes (Sequence[str]): In lower case; files may have them in upper case.

    Returns:
        dict[str, Path]: Name, with ``/`` between folders -> file.

    Raises:
        ValueError: If two files have one name.
    """
    folder = Path(folder)
    found: dict[str, Path] = {}
    for file in sorted(_paths_below(folder)):
        if file.suffix.lower() not in suffixes:
            continue
        name = file.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise ValueError(
                f"{found[name]} and {file} have one name, so which to pair is open; remove one"
            )
        found[name] = file
    return found


def _paths_below(folder: Path) -> Iterator[Path]:
    """Files and folders, also behind links; no link back to a folder it is in is followed."""
    real_folders = {str(folder): (os.path.realpath(folder),)}
    for path, subfolders, names in os.walk(folder, followlinks=True):
        # Hidden ones are copies that file managers and notebooks leave.
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        names = [name for name in names if not name.startswith(".")]
        yield from (Path(path, name) for name in [*subfolders, *names])
        above = real_folders.pop(path)
        for name in [*subfolders]:
            subfolder = os.path.join(path, name)
            real = os.path.realpath(subfolder)
            if real in above:
                subfolders.remove(name)
            else:
                real_folders[subfolder] = (*above, real)


def _other_files(folder: str, names: Sequence[str], suffixes: Sequence[str]) -> str:
    """Mention the first file of one of the names with a suffix that is not looked for."""
    for name in names:
        for file in sorted(Path(folder).glob(f"{glob.escape(name)}.*")):
            return f" ({file.name} is there, but must be one of {', '.join(suffixes)})"
    return ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", .." if len(names) > 5 else "")
