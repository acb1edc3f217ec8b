"""Receptive field and sampling density of an atrous pyramid.

python tools/analysis_tools/atrous_pyramid.py --rates 6 12 18 --size 65
python tools/analysis_tools/atrous_pyramid.py --rates 3 6 12 18 24 --dense --size 64

For every 3x3 conv of the pyramid: how wide a window of the map it sees, how many cells of a row of
that window reach its output, and on which share of a map of ``--size`` cells 9, 4 or 1 weights of
the filter do not fall on padding. With ``--dense`` a conv reads the outputs of all convs before it
(DenseASPP), otherwise all are parallel (DeepLabV3). The plot shows the shares over the rate, as
figure 4 of arXiv:1706.05587 does, and the cells of a row that are read.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.table import Table

from mmseg_papers.arguments import picture_file


@dataclass
class Layer:
    """What one 3x3 conv of a pyramid sees, in cells of the map.

    Attributes:
        rate (int): Atrous rate.
        offsets (np.ndarray): Of the cells of a row that reach the output, sorted.
    """

    rate: int
    offsets: np.ndarray

    @property
    def receptive_field(self) -> int:
        """Side of the window that is seen."""
        return int(self.offsets[-1] - self.offsets[0]) + 1

    @property
    def density(self) -> float:
        """Share of the cells of a row of the window that are read."""
        return len(self.offsets) / self.receptive_field


def pyramid(rates: Sequence[int], dense: bool) -> list[Layer]:
    """The layers of a pyramid of 3x3 convs.

    Args:
        rates (Sequence[int]): Atrous rates, in the order of the convs.
        dense (bool): Whether a conv reads the outputs of all convs before it, and the pyramid's
            input; otherwise the input alone.

    Returns:
        list[Layer]: One for each rate.
    """
    seen, layers = {0}, []  # offsets that reach the maps a conv may read
    for rate in rates:
        offsets = {start + tap for start in (seen if dense else {0}) for tap in (-rate, 0, rate)}
        layers.append(Layer(rate, np.array(sorted(offsets))))
        seen |= offsets
    return layers


def receptive_fields(rates: Sequence[int], dense: bool) -> list[int]:
    """Sides of the windows that the paths through a pyramid see.

    Args:
        rates (Sequence[int]): Atrous rates, in the order of the convs.
        dense (bool): As for :func:`pyramid`; a path then passes any of the convs.

    Returns:
        list[int]: Distinct, ascending.
    """
    longest = len(rates) if dense else 1
    paths = (path for n in range(1, longest + 1) for path in combinations(rates, n))
    return sorted({1 + 2 * sum(path) for path in paths})


def valid_weights(rate: int, size: int) -> dict[int, float]:
    """Share of the places of a square map where so many weights of a 3x3 filter see the map.

    Args:
        rate (int): Atrous rate.
        size (int): Cells of the map's side.

    Returns:
        dict[int, float]: Number of weights (9, 6, 4, 3, 2, 1) -> share of the places.
    """
    place = np.arange(size)
    row = sum(((place + tap >= 0) & (place + tap < size)).astype(int) for tap in (-rate, 0, rate))
    counts = np.outer(row, row)
    return {n: float((counts == n).mean()) for n in (9, 6, 4, 3, 2, 1)}


def show(layers: Sequence[Layer], size: int) -> None:
    """Print what each layer sees.

    Args:
        layers (Sequence[Layer]): Of :func:`pyramid`.
        size (int): Cells of the map's side, for the shares of valid weights.
    """
    table = Table(title=f"3x3 convs on a map of {size} x {size} cells")
    for name in ("rate", "receptive field", "cells read in a row", "density", "in the window"):
        table.add_column(name, justify="right")
    for n in (9, 4, 1):
        table.add_column(f"{n} valid weights", justify="right")
    for layer in layers:
        share = valid_weights(layer.rate, size)
        cells = len(layer.offsets)
        table.add_row(
            str(layer.rate),
            str(layer.receptive_field),
            str(cells),
            f"{layer.density:.3f}",
            f"{cells**2} of {layer.receptive_field**2}",
            *(f"{share[n]:.1%}" for n in (9, 4, 1)),
        )
    Console(width=120).print(table)


def write(layers: Sequence[Layer], size: int, target: Path) -> None:
    """Write a plot, and beside it the valid weights at every rate as CSV.

    Args:
        layers (Sequence[Layer]): Of :func:`pyramid`.
        size (int): Cells of the map's side.
        target (Path): PNG file; ``.csv`` in its place for the values.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    rates = range(1, size + 1)
    shares = [valid_weights(rate, size) for rate in rates]
    with target.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["rate", *(f"{n} valid weights" for n in shares[0])])
        writer.writerows([rate, *share.values()] for rate, share in zip(rates, shares, strict=True))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for n in (1, 4, 9):
        left.plot(rates, [share[n] for share in shares], label=f"{n} valid weights")
    for layer in layers:
        left.axvline(layer.rate, color="grey", lw=0.5)
    left.set(xlabel="atrous rate", ylabel=f"share of a {size} x {size} map", ylim=(0, 1))
    left.legend()
    for i, layer in enumerate(layers):
        right.plot(layer.offsets, np.full(len(layer.offsets), i), ".", ms=3)
    right.set_yticks(range(len(layers)), [f"rate {layer.rate}" for layer in layers])
    right.invert_yaxis()
    right.set(xlabel="cells of a row that reach the centre")
    figure.savefig(target, dpi=100)
    plt.close(figure)
    print(f"wrote {target} and {target.with_suffix('.csv')}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rates", type=int, nargs="+", default=(6, 12, 18), metavar="R")
    parser.add_argument(
        "--size", type=int, default=65, help="cells of the map's side (default: 65)"
    )
    parser.add_argument("--dense", action="store_true", help="each conv reads all before it")
    parser.add_argument("--out", type=picture_file, default="work_dirs/atrous_pyramid.png")
    args = parser.parse_args()
    if min(*args.rates, args.size) < 1:
        parser.error("--rates and --size must be at least 1")
    layers = pyramid(args.rates, args.dense)
    show(layers, args.size)
    fields = receptive_fields(args.rates, args.dense)
    print(f"{len(fields)} distinct receptive fields on the paths: {', '.join(map(str, fields))}")
    write(layers, args.size, args.out)


if __name__ == "__main__":
    main()
