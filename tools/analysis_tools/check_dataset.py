"""Check a config's data before training: what the label maps hold, and which setting to change.

    python tools/analysis_tools/check_dataset.py CONFIG [--out DIR] [--cfg-options KEY=VALUE ..]

Reads every image and label map of the splits once. Prints pixels and images of each class, class
weights to copy, and findings; writes a contact sheet of overlays. Exits with 1 if it found a fault.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import reduce
from itertools import groupby
from operator import add, attrgetter
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch
from mmcv.transforms import LoadImageFromFile
from mmengine.config import DictAction
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope
from mmseg.datasets.transforms import LoadAnnotations
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from mmseg_papers.apis.configs import resolved_config
from mmseg_papers.arguments import output_folder
from mmseg_papers.datasets.checking import (
    LabelCounts,
    absent_classes,
    count_labels,
    reduced_from_zero,
)
from mmseg_papers.datasets.label_maps import source_datasets
from mmseg_papers.models.option_errors import naming_options, typed_parts
from mmseg_papers.pictures import picture_of_array

SHEET_IMAGES = 12


def show(counts: list[LabelCounts], console: Console) -> None:
    """Print pixels and images of each class."""
    table = Table(title="classes")
    table.add_column("index", justify="right")
    table.add_column("class")
    for split in counts:
        table.add_column(f"{split.split}: pixels", justify="right")
        table.add_column(f"images of {split.images}", justify="right")
    for i, name in [*enumerate(counts[0].classes), (255, "(no class)")]:
        row = []
        for split in counts:
            share = split.pixels[i] / max(sum(split.pixels.values()), 1)
            row += [f"{share:.2%}", str(split.images_with[i])]
        table.add_row(str(i), escape(name), *row)
    console.print(table)


def contact_sheet(dataset: BaseDataset, target: Path) -> None:
    """Draw label maps over their images, evenly spread over the data set."""
    places = np.unique(np.linspace(0, len(dataset) - 1, SHEET_IMAGES).astype(int))
    loaders = LoadImageFromFile, LoadAnnotations
    loading = [t for t in dataset.pipeline.transforms if isinstance(t, loaders)]
    palette = np.full((256, 3), 255, np.uint8)
    palette[: len(dataset.metainfo["palette"])] = dataset.metainfo["palette"]
    figure, axes = plt.subplots(3, 4, figsize=(16, 10), layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, i in zip(axes.flat, places, strict=False):
        sample = dataset.get_data_info(int(i))
        name = Path(sample["img_path"]).name
        try:
            for transform in loading:
                sample = transform(sample)
        except ValueError:
            axis.set_title(f"{name}: see the findings", fontsize=8)
            continue
        label = sample["gt_seg_map"]
        axis.imshow(picture_of_array(sample["img"]))
        axis.imshow(np.dstack([palette[label], 110 * (label != 255)]).astype(np.uint8))
        axis.set_title(name, fontsize=8)
    patches = [
        Patch(facecolor=np.array(color) / 255, edgecolor="grey", label=name)
        for name, color in zip(
            dataset.metainfo["classes"], dataset.metainfo["palette"], strict=True
        )
    ]
    figure.legend(handles=patches[:40], loc="outside lower center", ncols=8, fontsize=8)
    figure.savefig(target, dpi=90)
    plt.close(figure)


def other_classes(model: dict, counts: Sequence[LabelCounts]) -> list[str]:
    """Findings about classes that the model or a split has in other number or order.

    Args:
        model (dict): The config's ``model``.
        counts (Sequence[LabelCounts]): Of each split one; the first is compared with the others.

    Returns:
        list[str]: One finding a part of the model or a split.
    """
    first, *others = counts
    findings = [
        f"{other.split}: the classes are {', '.join(other.classes)}, those of {first.split} "
        f"{', '.join(first.classes)}; give both the same"
        for other in others
        if tuple(other.classes) != tuple(first.classes)
    ]
    heads = {
        place: part["num_classes"]
        for place, part in typed_parts(model, "model")
        if "num_classes" in part
    }
    most, expected = max(heads.values(), default=0), len(first.classes)
    findings += [
        f"{place}.num_classes={number}, but {first.split} has {expected} classes; set "
        f"num_classes={expected}"
        for place, number in heads.items()
        # Others, such as a head for edges, have classes of their own.
        if number == most != expected
    ]
    return findings


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit status is 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config")
    parser.add_argument(
        "--out", type=output_folder, default="work_dirs/check_dataset", metavar="DIR"
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args(argv)
    try:
        config = resolved_config(args.config)
    except ValueError as error:
        parser.error(str(error))
    config.merge_from_dict(args.cfg_options)
    init_default_scope(config.get("default_scope", "mmseg"))
    console = Console()
    counts, findings = [], []
    if all(config.get(f"{split}_dataloader", ()) is None for split in ("train", "val")):
        parser.error(f"config {args.config} has no train_dataloader and no val_dataloader")
    for split in ("train", "val"):
        loader = f"{split}_dataloader"
        if loader not in config:
            parser.error(f"config {args.config} has no {loader}")
        if config[loader] is None:  # as MMEngine wants it of a training without validation
            continue
        try:
            with naming_options(config[loader], loader):
                of_split = source_datasets(config[loader].dataset)
        except (OSError, ValueError) as error:
            findings.append(f"{split}: {error}")
            continue
        for part in of_split:
            progress = track(range(len(part)), f"reading {split}", console=console, transient=True)
            counts.append(count_labels(part, split, progress))
        args.out.mkdir(parents=True, exist_ok=True)
        contact_sheet(of_split[0], args.out / f"{split}.png")
        console.print(f"wrote {args.out / split}.png: look at it", markup=False)
    findings += [finding for part in counts for finding in part.findings]
    counts = [part for part in counts if part.pixels]
    splits = [reduce(add, parts) for _, parts in groupby(counts, attrgetter("split"))]
    if splits:
        show(splits, console)
        findings += reduced_from_zero(counts) + absent_classes(splits)
        findings += other_classes(config.get("model", {}), splits)
    for trained in (split for split in splits if split.split == "train"):
        console.print(f"class_weight = {trained.class_weight()}", soft_wrap=True)
        pixels = [trained.pixels[i] for i in range(len(trained.classes))]
        console.print(f"label_counts = {pixels}", soft_wrap=True)
    for finding in findings:
        console.print(f"[red]fault[/] {escape(finding)}", soft_wrap=True, highlight=False)
    if not findings:
        console.print("[green]no fault found[/]")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
