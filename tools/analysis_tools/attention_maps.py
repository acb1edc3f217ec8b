"""Draw what a trained model's attention looks like on an image.

python tools/analysis_tools/attention_maps.py CONFIG CHECKPOINT IMAGE [--groups NAME=CLASS,.. ..]

Of height attention (HANet): the gates of every place, one column a channel and one row a row of the
attention, and what they let through to each group of classes. Of strip pooling (SPNet): the gates
of every module over the image. The image runs as a whole, also where the config tests in windows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from mmengine.config import DictAction
from torch import Tensor, nn

from mmseg_papers.apis import Predictor
from mmseg_papers.apis.configs import resolved_config
from mmseg_papers.arguments import picture_file
from mmseg_papers.models.layers import StripPoolingModule
from mmseg_papers.models.segmentors.fused_encoder_decoder import last_head
from mmseg_papers.models.segmentors.height_attention import HeightAttentionMixin


@dataclass
class Panel:
    """One picture: what stands above it, and how it is drawn."""

    title: str
    draw: Callable[[Axes], None]


class HeightGates:
    """The gates of a model with height attention, recorded while it runs.

    Args:
        model (nn.Module): Changed: its layers record what they compute.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        #: Place -> its gates, (channels, rows of the target).
        self.gates: dict[int, Tensor] = {}
        if not isinstance(model, HeightAttentionMixin):
            return
        self.classifier = last_head(model).conv_seg
        #: Channels and rows of the map that is classified.
        self.classified: tuple[int, int] = (0, 0)
        self.classifier.register_forward_pre_hook(self._see)
        for i, layer in enumerate(model.height_attention):
            layer.attention = self._recording(i, layer.attention)

    def _see(self, module: nn.Module, args: tuple[Tensor]) -> None:
        self.classified = tuple(args[0].shape[1:3])

    def _recording(self, i: int, attention: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def record(*args, **kwargs) -> Tensor:
            gate = attention(*args, **kwargs)
            self.gates[i] = gate[0].detach().float().cpu()
            return gate

        return record

    def panels(self, groups: dict[str, list[int]], image: np.ndarray) -> Iterator[Panel]:
        """What to draw after a run.

        Args:
            groups (dict[str, list[int]]): Name -> classes.
            image (np.ndarray): Not needed here.

        Yields:
            Panel: The gates of each place, channels that open higher up to the left; where the
            classifier reads the gated map, also the gate of each group.
        """
        points = zip(self.model._sources, self.model._targets, strict=True) if self.gates else []
        for i, (source, target) in enumerate(points):
            gate = self.gates[i]
            title = f"{source.name} -> {target.name}"
            yield Panel(title, lambda axis, gate=gate: draw_gates(axis, gate))
            is_classified = tuple(gate.shape) == self.classified and i == len(self.gates) - 1
            if is_classified or target.module.endswith("conv_seg"):
                of_classes = gate_of_classes(gate, self.classifier.weight)
                curves = {name: of_classes[members].mean(0) for name, members in groups.items()}
                yield Panel(f"{title}, by class", lambda axis, c=curves: draw_curves(axis, c))


class StripGates:
    """The gates of a model's strip-pooling modules, recorded while it runs.

    Args:
        model (nn.Module): Changed: its modules record what they compute.
    """

    def __init__(self, model: nn.Module) -> None:
        #: Module -> its gate, (C, H, W).
        self.gates: dict[str, Tensor] = {}
        for name, module in model.named_modules():
            if isinstance(module, StripPoolingModule):
                module.register_forward_pre_hook(partial(self._see, name))

    def _see(self, name: str, module: StripPoolingModule, args: tuple[Tensor]) -> None:
        self.gates[name] = module.gate(args[0])[0].detach().float().cpu()

    def panels(self, groups: dict[str, list[int]], image: np.ndarray) -> Iterator[Panel]:
        """What to draw after a run.

        Args:
            groups (dict[str, list[int]]): Not needed here.
            image (np.ndarray): What the model saw, (H, W, 3), RGB.

        Yields:
            Panel: Of each module the mean of its channels' gates, and the gate that varies most.
        """
        for name, gate in self.gates.items():
            channel = gate.flatten(1).std(1).argmax().item()
            for what, part in (("mean", gate.mean(0)), (f"channel {channel}", gate[channel])):
                yield Panel(f"{name}, {what}", lambda axis, p=part: draw_map(axis, p, image))


#: What is recorded: each is built with the model before it runs and has ``panels``.
KINDS = (HeightGates, StripGates)


def gate_of_classes(gate: Tensor, classifier: Tensor) -> Tensor:
    """Gate that each class sees: its own, or that of the channels, weighted by its classifier.

    Args:
        gate (Tensor): (K, H) of the classifier's output or (C, H) of its input.
        classifier (Tensor): Its weights, (K, C, 1, 1).

    Returns:
        Tensor: (K, H): of its output the gate itself; of its input
        sum_c |w_kc| gate_c / sum_c |w_kc|.
    """
    weight = classifier.detach().float().cpu().flatten(1).abs()
    if len(gate) == len(weight):
        return gate
    return weight @ gate / weight.sum(1, keepdim=True)


def draw_gates(axis: Axes, gate: Tensor) -> None:
    """Draw gates (C, H) with the top row on top."""
    rows = torch.arange(gate.shape[1], dtype=gate.dtype)
    centre = (gate * rows).sum(1) / gate.sum(1)
    picture = axis.imshow(
        gate[centre.argsort()].T.numpy(), vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    axis.set(xlabel="channel", ylabel="row")
    axis.figure.colorbar(picture, ax=axis)


def draw_curves(axis: Axes, curves: dict[str, Tensor]) -> None:
    """Draw curves (H,) over the height, the top row on top."""
    for i, (name, curve) in enumerate(curves.items()):
        style = ("-", "--", ":")[i // 10 % 3]
        axis.plot(curve.numpy(), range(len(curve)), style, label=name)
    axis.set(xlabel="gate", ylabel="row")
    axis.invert_yaxis()
    axis.legend(fontsize=7)


def draw_map(axis: Axes, gate: Tensor, image: np.ndarray) -> None:
    """Lay a gate (h, w) over the image (H, W, 3), each in its own range of values."""
    extent = (0, image.shape[1], image.shape[0], 0)
    axis.imshow(image.mean(2), cmap="gray", extent=extent)
    picture = axis.imshow(gate.numpy(), alpha=0.6, extent=extent, interpolation="nearest")
    axis.axis("off")
    axis.figure.colorbar(picture, ax=axis)


def draw(image: np.ndarray, panels: list[Panel], target: Path) -> None:
    """Draw the image and the panels.

    Args:
        image (np.ndarray): (H, W, 3), RGB.
        panels (list[Panel]): What to draw beside it.
        target (Path): PNG file to write.
    """
    columns = 3
    rows = -(-(len(panels) + 1) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(5 * columns, 3.5 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(panels) + 1 :]:
        axis.axis("off")
    axes.flat[0].imshow(image)
    axes.flat[0].axis("off")
    for axis, panel in zip(axes.flat[1:], panels, strict=False):
        axis.set_title(panel.title, fontsize=8)
        panel.draw(axis)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=100)
    plt.close(figure)


def parse_groups(groups: list[str] | None, classes: tuple[str, ...]) -> dict[str, list[int]]:
    """Groups of classes from ``name=class,class``; by default every class is one.

    Raises:
        ValueError: If a class does not exist.
    """
    if groups is None:
        return {name: [i] for i, name in enumerate(classes)}
    parsed = {}
    for group in groups:
        name, _, members = group.partition("=")
        unknown = [member for member in members.split(",") if member not in classes]
        if unknown:
            raise ValueError(
                f"--groups: no class {', '.join(unknown)}; there are {', '.join(classes)}"
            )
        parsed[name] = [classes.index(member) for member in members.split(",")]
    return parsed


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument("image")
    parser.add_argument("--groups", nargs="+", metavar="NAME=CLASS,..")
    parser.add_argument("--out", type=picture_file, default="work_dirs/attention_maps.png")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="as for training")
    args = parser.parse_args()
    image = cv2.imread(args.image)
    if image is None:
        parser.error(f"{args.image} is no image that OpenCV can read")
    try:
        config = resolved_config(args.config)
        config.merge_from_dict(args.cfg_options or {})
        predictor = Predictor(config, args.checkpoint, args.device)
        groups = parse_groups(args.groups, predictor.classes)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    model = predictor.model
    model.test_cfg["mode"] = "whole"
    kinds = [kind(model) for kind in KINDS]
    predictor(image)
    image = image[:, :, ::-1]
    panels = [panel for kind in kinds for panel in kind.panels(groups, image)]
    if not panels:
        parser.exit(1, f"{type(model).__name__} has no attention that can be drawn\n")
    draw(image, panels, args.out)
    print(f"attention maps: {args.out.absolute()}")


if __name__ == "__main__":
    main()
