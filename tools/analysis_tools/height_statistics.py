"""How much the height of a pixel says about its class (HANet's motivation).

python tools/analysis_tools/height_statistics.py CONFIG [--sections 3]

Prints, for the training labels of a config, the share of each class and the entropy of the classes
in the whole image and in horizontal sections, and plots them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from mmengine.config import DictAction
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table

from mmseg_papers.apis.configs import require_parts, resolved_config
from mmseg_papers.arguments import picture_file, positive
from mmseg_papers.datasets.height_statistics import (
    count_classes,
    entropy,
    mutual_information,
    probabilities,
)
from mmseg_papers.datasets.label_maps import load_label_map, source_datasets


def show(counts: np.ndarray, classes: list[str]) -> None:
    """Print the shares of the classes and the entropies."""
    sections = len(counts)
    table = Table("class", "whole", *(f"{i + 1}/{sections}" for i in range(sections)))
    rows = np.concatenate([counts.sum(0, keepdims=True), counts])
    for name, shares in zip(classes, 100 * probabilities(rows).T, strict=True):
        table.add_row(name, *(f"{share:.2f} %" for share in shares))
    table.add_section()
    table.add_row("entropy (nats)", *(f"{value:.3f}" for value in entropy(rows)))
    console = Console()
    console.print(table)
    explained = mutual_information(counts)
    console.print(
        f"entropy given the section {entropy(rows[0]) - explained:.3f}, explained by the section "
        f"{explained:.3f} nats; 1/{sections} is the top"
    )


def draw(counts: np.ndarray, classes: list[str], palette: list[list[int]], target: Path) -> None:
    """Plot the shares of the classes from top to bottom, and the entropy beside them.

    Args:
        counts (np.ndarray): (S, K).
        classes (list[str]): Names.
        palette (list[list[int]]): RGB of each class.
        target (Path): PNG file to write.
    """
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 4.5), sharey=True, width_ratios=(3, 1), layout="constrained"
    )
    height = (np.arange(len(counts)) + 0.5) / len(counts)
    start = np.zeros(len(counts))
    for name, share, colour in zip(classes, probabilities(counts).T, palette, strict=True):
        left.barh(
            height, share, 1 / len(counts), left=start, color=np.array(colour) / 255, label=name
        )
        start += share
    left.set(xlim=(0, 1), ylim=(1, 0), xlabel="share of the pixels", ylabel="height in the image")
    right.plot(entropy(counts), height, "o-", label="section")
    right.axvline(entropy(counts.sum(0)), color="grey", linestyle="--", label="whole image")
    right.set(xlabel="entropy (nats)", xlim=(0, None))
    right.legend()
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=7, fontsize=8
    )
    figure.savefig(target, dpi=120)
    plt.close(figure)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config")
    parser.add_argument("--sections", type=positive, default=3, help="default: 3")
    parser.add_argument("--out", type=picture_file, default="work_dirs/height_statistics.png")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="as for training")
    args = parser.parse_args()
    init_default_scope("mmseg")
    try:
        config = resolved_config(args.config)
        config.merge_from_dict(args.cfg_options or {})
        require_parts(config, "train_dataloader")
        datasets = source_datasets(config.train_dataloader.dataset)
        classes = datasets[0].metainfo["classes"]
        counts = sum(
            count_classes(load_label_map(dataset, i), len(classes), args.sections)
            for dataset in datasets
            for i in range(len(dataset))
        )
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    for dataset in datasets:
        print(f"{len(dataset)} label maps of {type(dataset).__name__}")
    show(counts, classes)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    draw(counts, classes, datasets[0].metainfo["palette"], args.out)
    print(f"plot: {args.out.absolute()}")


if __name__ == "__main__":
    main()
