"""Draw the structure of every paper into ``docs/images/papers``: ``python docs/figures.py [DIR]``.

Grey parts are known from elsewhere, orange ones are what the paper adds, dashed ones exist in
training only.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Line

FACES = {"known": "#e8eaed", "new": "#fbd9a5", "map": "#ffffff", "loss": "#f4c7c3"}
INK = "#3c4043"
INCH = 0.62  # of a unit of the drawing


@dataclass
class Box:
    """A box about ``(x, y)`` and the middles of its sides."""

    x: float
    y: float
    width: float
    height: float

    def side(self, name: str) -> tuple[float, float]:
        """Returns the middle of the ``left``, ``right``, ``top`` or ``bottom`` side."""
        dx, dy = {"left": (-1, 0), "right": (1, 0), "top": (0, 1), "bottom": (0, -1)}[name]
        return self.x + dx * self.width / 2, self.y + dy * self.height / 2


class Diagram:
    """Boxes and arrows on a plane whose unit is about a line and a half of text.

    Args:
        width (float): Of the plane.
        height (float): Of the plane.
    """

    def __init__(self, width: float, height: float) -> None:
        self.figure = plt.figure(figsize=(width * INCH, height * INCH))
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def box(
        self,
        x: float,
        y: float,
        text: str,
        kind: str = "known",
        size: tuple[float, float] = (2.6, 0.9),
        training: bool = False,
    ) -> Box:
        """Draw a box about a point; dashed if it exists in ``training`` only."""
        width, height = size
        self.axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=0.12",
                facecolor=FACES[kind],
                edgecolor=INK,
                linewidth=0.9,
                linestyle="--" if training else "-",
            )
        )
        self.text(x, y, text)
        return Box(x, y, width, height)

    def text(self, x: float, y: float, text: str, **style) -> None:
        """Write about a point."""
        style = {"fontsize": 8, "ha": "center", "va": "center", "color": INK, **style}
        self.axes.text(x, y, text, **style)

    def arrow(
        self,
        start: Box,
        end: Box,
        sides: str = "right left",
        bend: float = 0.0,
        level: float | None = None,
        training: bool = False,
    ) -> None:
        """Connect the named sides of two boxes: straight, bent, or around them at a ``level``."""
        first, last = (
            box.side(side) for box, side in zip((start, end), sides.split(), strict=True)
        )
        if level is None:
            course = dict(posA=first, posB=last, connectionstyle=f"arc3,rad={bend}")
        else:
            course = dict(path=Line([first, (first[0], level), (last[0], level), last]))
        self.axes.add_patch(
            FancyArrowPatch(
                **course,
                arrowstyle="-|>",
                mutation_scale=8,
                shrinkA=0,
                shrinkB=0,
                linewidth=0.9,
                linestyle="--" if training else "-",
                color=INK,
            )
        )

    def chain(self, *boxes: Box) -> None:
        """Connect each box with the next, from left to right."""
        for start, end in itertools.pairwise(boxes):
            self.arrow(start, end)


def hrnetv2() -> Diagram:
    """Four streams, the exchange between them, and the ways to read them out."""
    d = Diagram(18.8, 7.6)
    heights = [6.2, 4.7, 3.2, 1.7]
    stem = d.box(1.2, heights[0], "stem\nstride 4", size=(1.7, 1))
    previous = [d.box(3.6, heights[0], "stage 1\n256", size=(1.7, 1))]
    d.arrow(stem, previous[0])
    for stage, x in ((2, 6.2), (3, 8.9), (4, 11.6)):
        d.text(x, 7.2, f"stage {stage}")
        streams = [
            d.box(x, heights[r], f"{2**r if r else ''}C", size=(1.3, 0.9)) for r in range(stage)
        ]
        for start, end in itertools.product(previous, streams[:-1]):
            d.arrow(start, end)
        d.arrow(previous[-1], streams[-1])
        previous = streams
    for r in (1, 2, 3):
        d.text(0.4, heights[r], f"stride {4 * 2**r}", ha="left")
    sums = [d.box(13.6, y, "+", "new", (0.8, 0.8)) for y in heights]
    for start, end in itertools.product(previous, sums):
        d.arrow(start, end)
    v1 = d.box(17, heights[0], "V1: classifier\nV1h: 1x1 conv 15C first", "new", (3.4, 1))
    v2 = d.box(
        17, 4.2, "V2: resize to stride 4,\nconcat 15C, 1x1 conv,\nclassifier", "new", (3.4, 1.4)
    )
    v2p = d.box(
        17, 2.0, "V2p: concat as V2,\n1x1 conv 256, pooled\nto strides 4 .. 64", "new", (3.4, 1.4)
    )
    d.arrow(sums[0], v1)
    for stream in sums:
        d.arrow(stream, v2)
        d.arrow(stream, v2p)
    d.text(
        7.4,
        0.5,
        "an exchange, drawn between stages, ends every module of a stage: upwards 1x1 conv,\n"
        "BN, resize; downwards 3x3 convs of stride 2, BN; level identity; ReLU of the sum",
    )
    return d


def ocrnet() -> Diagram:
    """Pixels, objects and pixels augmented by the objects."""
    d = Diagram(19.6, 6.6)
    streams = d.box(1.5, 2.9, "HRNetV2\n15C, stride 4")
    coarse = d.box(5.1, 4.6, "coarse head\nlogits P, K maps")
    pixels = d.box(5.1, 1.6, "3x3 conv\npixels F, 512")
    gather = d.box(8.9, 4.6, "gather: soft-max of P\nover the positions", "new", (3.2, 1))
    objects = d.box(12.7, 4.6, "objects\n512 x K", "map", (2, 1))
    attention = d.box(12.7, 1.6, "attention of pixels\non objects", "new", (2.9, 1))
    fuse = d.box(15.9, 1.6, "concat, 1x1\n512", "known", (2, 1))
    end = d.box(18.4, 1.6, "classifier", size=(1.9, 1))
    loss = d.box(5.1, 6.1, "0.4 x cross entropy", "loss", (3, 0.7), training=True)
    d.arrow(streams, coarse)
    d.arrow(streams, pixels)
    d.chain(coarse, gather, objects)
    d.arrow(pixels, gather, "top bottom")
    d.arrow(objects, attention, "bottom top")
    d.chain(pixels, attention, fuse, end)
    d.arrow(coarse, loss, "top bottom", training=True)
    d.arrow(pixels, fuse, "bottom bottom", level=0.5)
    d.text(12.9, 3.1, "keys, values", ha="left")
    d.text(8.9, 1.85, "queries")
    return d


def deeplabv3() -> Diagram:
    """The cascade and the pyramid behind a ResNet with atrous rates."""
    d = Diagram(19.6, 7.6)
    blocks = []
    for i, (stride, rates) in enumerate(((4, "1"), (8, "1"), (16, "1"), (16, "2 x grid"))):
        name = f"block {i + 1}\nstride {stride}\nrate {rates}"
        blocks.append(d.box(1.4 + 2.4 * i, 5.9, name, "new" if i == 3 else "known", (1.9, 1.5)))
    cascade = [
        d.box(11.4 + 2.4 * i, 6.6, f"block {5 + i}\nrate {2 ** (i + 2)} x grid", "new", (1.9, 1))
        for i in range(3)
    ]
    classify = d.box(18.5, 6.6, "classifier", size=(1.8, 0.9))
    d.chain(*blocks, *cascade, classify)
    d.text(13.8, 7.4, "either: cascade")
    d.text(13.8, 5.6, "or: atrous spatial pyramid pooling")
    names = ("image: global mean, 1x1", "1x1", "3x3, rate 6", "3x3, rate 12", "3x3, rate 18")
    concat = d.box(15.4, 3.0, "concat 1280\n1x1 conv 256", size=(2.2, 1.2))
    for i, name in enumerate(names):
        branch = d.box(11.8, 4.8 - 0.9 * i, name, "new", (3.5, 0.65))
        d.arrow(blocks[-1], branch, "bottom left", bend=0.12)
        d.arrow(branch, concat)
    classifier = d.box(18.4, 3.0, "dropout,\nclassifier", size=(2, 1.2))
    d.arrow(concat, classifier)
    d.text(
        4.6,
        2.4,
        "grid: of a block's three units, (1, 2, 4) with\n"
        "the pyramid, (1, 2, 1) with the cascade.\n\n"
        "Drawn for output stride 16; at 8 the same weights\n"
        "run without block 3's stride, later rates doubled.",
    )
    return d


def deeplabv3plus() -> Diagram:
    """The pyramid as encoder and the decoder with a map of stride 4."""
    d = Diagram(19.4, 5.8)
    image = d.box(1.2, 4.5, "image", "map", (1.6, 0.9))
    trunk = d.box(4.6, 4.5, "aligned Xception\nor ResNet", "new", (3, 1.1))
    pyramid = d.box(9.0, 4.5, "ASPP, separable\n256, stride 16", "known", (3, 1.1))
    up = d.box(13.0, 4.5, "resize x4", "known", (2.2, 0.9))
    low = d.box(4.6, 1.6, "map of stride 4\n256", "map", (3, 1.1))
    narrow = d.box(9.0, 1.6, "1x1 conv\n48", "new", (3, 1.1))
    concat = d.box(13.0, 1.6, "concat\n304", "new", (2.2, 1.1))
    refine = d.box(16.0, 1.6, "2 x 3x3\nseparable\n256", "new", (2.1, 1.5))
    end = d.box(18.5, 1.6, "classifier,\nresize x4", "known", (1.6, 1.1))
    d.chain(image, trunk, pyramid, up)
    d.arrow(trunk, low, "bottom top")
    d.chain(low, narrow, concat, refine, end)
    d.arrow(up, concat, "bottom top")
    d.text(9.0, 5.6, "encoder: DeepLabV3")
    d.text(9.0, 0.5, "decoder")
    return d


def denseaspp() -> Diagram:
    """Dense connections, and which positions along a row each layer sees."""
    d = Diagram(19.4, 9.8)
    rates = (3, 6, 12, 18, 24)
    boxes = [d.box(1.4, 7.2, "relu(f)\nc0", "map", (1.8, 1))]
    boxes += [
        d.box(4.4 + 2.7 * i, 7.2, f"rate {rate}\n1x1, 3x3", "new", (1.9, 1))
        for i, rate in enumerate(rates)
    ]
    boxes.append(d.box(18.1, 7.2, "classifier\nc0 + 5n", "known", (1.9, 1)))
    for i, j in itertools.combinations(range(len(boxes)), 2):
        if j == i + 1:
            d.arrow(boxes[i], boxes[j])
        else:
            rise = 0.3 + 0.27 * (j - i)
            d.arrow(boxes[i], boxes[j], "top top", bend=-2 * rise / (boxes[j].x - boxes[i].x))
    d.text(
        9.7,
        6.1,
        "positions along a row that a pixel of each layer's output depends on (map of stride 8)",
    )
    seen = {0}
    for i, rate in enumerate(rates):
        y = 5.3 - 0.85 * i
        seen = {p + step for p in seen for step in (-rate, 0, rate)} | seen
        d.text(0.2, y, f"rate {rate}", ha="left")
        scale = 10.2 / 127
        d.axes.vlines(
            [6.9 + p * scale for p in sorted(seen)],
            y - 0.22,
            y + 0.22,
            color="#e8710a",
            linewidth=1.4,
        )
        d.text(12.3, y, f"{len(seen)} of {1 + 2 * sum(rates[: i + 1])}", ha="left")
        d.axes.vlines(
            [16.8 + p * scale for p in (-rate, 0, rate)],
            y - 0.22,
            y + 0.22,
            color=INK,
            linewidth=1.4,
        )
    d.text(6.9, 0.7, "DenseASPP")
    d.text(16.8, 0.7, "one conv of that rate, as in ASPP")
    return d


def refinenet() -> Diagram:
    """The cascade of blocks, and what is in one."""
    d = Diagram(19.6, 8.8)
    previous = None
    for i, stride in enumerate((32, 16, 8, 4)):
        y = 7.9 - 1.5 * i
        level = d.box(1.6, y, f"ResNet, stride {stride}", "known", (2.7, 0.8))
        block = d.box(5.6, y, f"RefineNet-{4 - i}\n{512 if i == 0 else 256}", "new", (2.4, 1))
        d.arrow(level, block)
        if previous is not None:
            d.arrow(previous, block, "bottom top")
        previous = block
    end = d.box(5.6, 1.8, "3x3 classifier", "known", (2.4, 0.8))
    d.arrow(previous, end, "bottom top")

    d.text(13.4, 8.3, "a block")
    paths = []
    for y, name in ((7.2, "ResNet map"), (5.8, "previous block")):
        start = d.box(9.3, y, name, "map", (2.1, 0.8))
        fit = d.box(14.6, y, "3x3 conv, resize", "new", (2.3, 0.8))
        if name == "ResNet map":
            unit = d.box(11.9, y, "3x3,\n2 x RCU", "new", (1.8, 0.9))
            d.chain(start, unit, fit)
        else:
            d.arrow(start, fit)
        paths.append(fit)
    add = d.box(16.9, 6.5, "+", "new", (0.6, 0.6))
    for path in paths:
        d.arrow(path, add)
    relu = d.box(18.4, 6.5, "ReLU", "known", (1.2, 0.7))
    d.arrow(add, relu)

    x = d.box(9.3, 3.7, "x", "map", (0.8, 0.7))
    d.text(13.4, 4.9, "then chained residual pooling, four stages, and 3 x RCU")
    last, plus = x, d.box(10.6, 2.0, "+", "new", (0.6, 0.6))
    d.arrow(x, plus, "bottom left", bend=0.3)
    for i in range(4):
        stage = d.box(11.5 + 2.05 * i, 3.7, "pool 5x5\n3x3 conv", "new", (1.6, 1))
        d.arrow(last, stage)
        last = stage
        if i > 0:
            following = d.box(10.6 + 2.05 * i, 2.0, "+", "new", (0.6, 0.6))
            d.arrow(plus, following)
            plus = following
        d.arrow(stage, plus, "bottom top")
    units = d.box(18.6, 2.0, "3 x RCU", "new", (1.5, 0.8))
    d.arrow(plus, units)
    d.text(13.4, 0.7, "RCU:  x + conv3x3(relu(conv3x3(relu(x))))")
    return d


def spnet() -> Diagram:
    """The strip-pooling module and the mixed-pooling module."""
    d = Diagram(19.4, 9.2)
    d.text(0.3, 8.5, "strip-pooling module, in a bottleneck", ha="left")
    x = d.box(1.3, 6.7, "x\nC x H x W", "map", (1.8, 1))
    gate = d.box(17.9, 6.7, "x * gate", "new", (1.8, 0.9))
    merge = d.box(11.2, 6.7, "+, ReLU", "new", (1.8, 0.9))
    squash = d.box(14.4, 6.7, "1x1 conv,\nsigmoid", "new", (2.1, 1))
    for y, pool, conv in ((7.6, "mean of each row\nC x H x 1", "3x1 conv, BN"),
                          (5.8, "mean of each column\nC x 1 x W", "1x3 conv, BN")):  # fmt: skip
        strip = d.box(4.8, y, pool, "new", (3.1, 1))
        mixed = d.box(8.3, y, conv, "new", (2.2, 0.8))
        d.chain(x, strip, mixed, merge)
    d.chain(merge, squash, gate)
    d.arrow(x, gate, "bottom bottom", level=4.95)

    d.text(0.3, 4.3, "mixed-pooling module, twice in the head", ha="left")
    x = d.box(1.3, 2.3, "x\nC x H x W", "map", (1.8, 1))
    short = d.box(4.2, 3.2, "1x1 conv\nC / 4", "known", (1.9, 0.9))
    long = d.box(4.2, 1.3, "1x1 conv\nC / 4", "known", (1.9, 0.9))
    pyramid = d.box(
        9.0, 3.2, "3x3 at full size, pooled to\n20 x 20 and to 12 x 12; +, ReLU", "known", (4.9, 1)
    )
    strips = d.box(
        9.0, 1.3, "strips of rows and columns,\nas above without a gate", "new", (4.9, 1)
    )
    fine, wide = (d.box(13.2, y, "3x3 conv", "known", (1.8, 0.8)) for y in (3.2, 1.3))
    join = d.box(15.9, 2.3, "concat,\n1x1 conv", "known", (1.7, 1))
    end = d.box(18.2, 2.3, "+ x, ReLU", "known", (1.7, 0.9))
    d.chain(x, short, pyramid, fine, join, end)
    d.chain(x, long, strips, wide, join)
    d.arrow(x, end, "bottom bottom", level=0.45)
    return d


def cpnet() -> Diagram:
    """Aggregation, the prior, the two contexts and the loss of the prior."""
    d = Diagram(19.6, 6.8)
    features = d.box(1.3, 4.0, "X\n2048, stride 8", "map", (2.1, 1))
    aggregate = d.box(4.6, 4.0, "aggregation:\n11x1 and 1x11\ncrossed", "new", (2.3, 1.5))
    value = d.box(7.1, 4.0, "V\n512", "map", (1, 1))
    prior = d.box(9.9, 2.2, "1x1 conv to N channels,\nBN, sigmoid: P", "new", (3.3, 1))
    intra = d.box(13.2, 4.9, "P V / N\n1x1 conv", "new", (2.2, 1))
    inter = d.box(13.2, 3.3, "(1 - P) V / N\n1x1 conv", "new", (2.2, 1))
    concat = d.box(16.2, 4.0, "concat, 3x3\n512", "known", (2, 1))
    end = d.box(18.6, 4.0, "classifier", "known", (1.7, 0.9))
    d.chain(features, aggregate, value)
    d.arrow(value, prior, "bottom left", bend=0.2)
    for context in (intra, inter):
        d.arrow(value, context)
        d.arrow(prior, context, "right left", bend=-0.1)
        d.arrow(context, concat)
    d.arrow(features, concat, "top top", level=6.1)
    d.arrow(concat, end)
    label = d.box(4.6, 0.7, "label at stride 8", "map", (2.5, 0.8), training=True)
    ideal = d.box(9.9, 0.7, "ideal affinity: same class?", "new", (3.6, 0.8), training=True)
    loss = d.box(14.6, 0.7, "affinity loss", "loss", (2.4, 0.8), training=True)
    d.arrow(label, ideal, training=True)
    d.arrow(ideal, loss, training=True)
    d.arrow(prior, loss, "right top", bend=-0.2, training=True)
    return d


def hanet() -> Diagram:
    """One gate: from an early map's rows to a factor for each channel and row of a later map."""
    d = Diagram(19.8, 6.0)
    low = d.box(1.2, 4.2, "low map\nC x H x W", "map", (1.9, 1.7))
    pool = d.box(3.9, 4.2, "mean\nover the\nwidth", "new", (1.5, 1.7))
    bins = d.box(6.0, 4.2, "16\nrows", "map", (0.9, 1.7))
    first = d.box(8.1, 4.2, "conv 1,\nBN, ReLU\nC / r", "new", (1.6, 1.7))
    second = d.box(10.9, 4.2, "conv 3,\nBN, ReLU\n2C / r", "new", (1.6, 1.7))
    third = d.box(13.1, 4.2, "conv 3,\nsigmoid", "new", (1.5, 1.7))
    stretch = d.box(15.4, 4.2, "A\ninterpolated\nto the rows", "new", (1.9, 1.7))
    product = d.box(18.5, 4.2, "high map * A", "new", (2.1, 1))
    position = d.box(9.5, 1.9, "position of each row\nin the whole image", "new", (3.2, 1))
    high = d.box(18.5, 1.9, "high map\nC' x H' x W'", "map", (2.1, 1.2))
    plus = d.box(9.5, 4.2, "+", "new", (0.5, 0.5))
    d.chain(low, pool, bins, first, plus, second, third, stretch, product)
    d.arrow(position, plus, "top bottom")
    d.arrow(high, product, "top bottom")
    d.text(
        9.5,
        0.7,
        "at four places of DeepLabV3+: stage 3 -> stage 4 -> pyramid -> bottleneck,\n"
        "and the decoder's input -> its output",
    )
    d.text(10.0, 5.6, "convolutions along the rows")
    return d


def dsrl() -> Diagram:
    """One encoder, two decoders; the second one exists in training only."""
    d = Diagram(19.4, 6.4)
    image = d.box(1.3, 3.4, "image\n2h x 2w", "map", (1.8, 1))
    half = d.box(4.0, 3.4, "halved\nh x w", "map", (1.8, 1))
    encoder = d.box(6.9, 3.4, "encoder", "known", (2, 1))
    segment = d.box(10.2, 5.0, "decoder", "known", (2, 0.9))
    raise_ = d.box(13.4, 5.0, "SSSR:\nlogits 2h x 2w", "new", (2.6, 1))
    entropy = d.box(
        17.5, 5.0, "cross entropy with\nthe full-size label", "loss", (3.2, 1), training=True
    )
    restore = d.box(10.2, 1.8, "decoder", "new", (2, 0.9), training=True)
    picture = d.box(13.4, 1.8, "SISR:\nimage 2h x 2w", "new", (2.6, 1), training=True)
    squared = d.box(17.5, 1.8, "squared error with\nthe image", "loss", (3.2, 1), training=True)
    affinity = d.box(12.0, 3.4, "feature affinity", "loss", (2.8, 0.8), training=True)
    d.chain(image, half, encoder, segment, raise_)
    d.arrow(raise_, entropy, training=True)
    for start, end in ((encoder, restore), (restore, picture), (picture, squared)):
        d.arrow(start, end, training=True)
    d.arrow(segment, affinity, "bottom left", bend=0.2, training=True)
    d.arrow(restore, affinity, "top left", bend=-0.2, training=True)
    d.arrow(image, squared, "bottom bottom", level=0.7, training=True)
    return d


FIGURES: dict[str, Callable[[], Diagram]] = {
    figure.__name__: figure
    for figure in (
        hrnetv2, ocrnet, deeplabv3, deeplabv3plus, denseaspp, refinenet, spnet, cpnet, hanet, dsrl
    )
}  # fmt: skip


def draw(folder: Path) -> list[Path]:
    """Draw all figures.

    Args:
        folder (Path): Made if it does not exist.

    Returns:
        list[Path]: The files, one a paper.
    """
    # Text stays text, and the same input gives the same bytes.
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "mmseg-papers"})
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, figure in FIGURES.items():
        files.append(folder / f"{name}.svg")
        diagram = figure().figure
        diagram.savefig(files[-1], metadata={"Date": None})
        plt.close(diagram)
    return files


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(__file__).parent / "images" / "papers"
    )
    for file in draw(parser.parse_args().folder):
        print(f"wrote {file}")
