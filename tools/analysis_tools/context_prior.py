"""Draw a CPNet's learned context prior beside the ideal affinity, for chosen pixels of an image.

    python tools/analysis_tools/context_prior.py CONFIG CHECKPOINT [--index 0] [--points X,Y ..]

A row shows a pixel, which positions are of its class, and which the model holds to be of its class.
The image is one of the test set, in the size that the model sees; of a larger one the middle.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import DictAction
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from mmseg.registry import DATASETS
from torch import Tensor

from mmseg_papers.apis import load_model
from mmseg_papers.apis.configs import require_parts, resolved_config
from mmseg_papers.arguments import picture_file
from mmseg_papers.models.decode_heads import CPHead
from mmseg_papers.models.losses import label_of_positions


def read_window(model: BaseModel, data: dict) -> tuple[Tensor, Tensor]:
    """The middle of a test image, as large as the prior's crop, and its label.

    Args:
        model (BaseModel): With a ``CPHead``.
        data (dict): A sample of the test set, with its label map at any size.

    Returns:
        tuple[Tensor, Tensor]: Normalised image (1, 3, H, W) and class indices (1, 1, H, W).
    """
    batch = model.data_preprocessor(pseudo_collate([data]), training=False)
    image, sample = batch["inputs"], batch["data_samples"][0]
    label = sample.gt_sem_seg.data[None].float()
    size = data["inputs"].shape[1:]
    label = F.interpolate(label, size, mode="nearest").long()
    missing = (0, image.shape[3] - size[1], 0, image.shape[2] - size[0])
    label = F.pad(label, missing, value=model.decode_head.ignore_index)
    crop = model.test_cfg.get("crop_size", image.shape[2:])
    rows, columns = (
        slice((full - part) // 2, (full - part) // 2 + part)
        for full, part in zip(image.shape[2:], crop, strict=True)
    )
    return image[:, :, rows, columns], label[:, :, rows, columns]


def middles_of_classes(label: Tensor, count: int, ignore_index: int) -> list[int]:
    """The position nearest to the middle of each of the largest classes.

    Args:
        label (Tensor): Class of each position, (h, w).
        count (int): At most so many.
        ignore_index (int): No class.

    Returns:
        list[int]: Row-major positions.
    """
    classes, sizes = label[label != ignore_index].unique(return_counts=True)
    middles = []
    for index in classes[sizes.argsort(descending=True)][:count]:
        places = (label == index).nonzero().float()
        row, column = places[(places - places.mean(0)).norm(dim=1).argmin()].long().tolist()
        middles.append(row * label.shape[1] + column)
    return middles


@torch.no_grad()
def draw(model: BaseModel, data: dict, points: list[tuple[int, int]], target: Path) -> None:
    """Write the picture.

    Args:
        model (BaseModel): With a ``CPHead``.
        data (dict): A sample of the test set.
        points (list[tuple[int, int]]): Columns and rows of pixels in the window. Default: the
            middles of the four largest classes.
        target (Path): PNG file to write.

    Raises:
        ValueError: If a point is outside the window.
    """
    head = model.decode_head
    image, label = read_window(model, data)
    height, width = image.shape[2:]
    grid = head.prior_size
    for x, y in points:
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"point {x},{y} is outside the window of {width} x {height} pixels")
    of_positions = label_of_positions(label, grid)[0]
    queries = [y * grid[0] // height * grid[1] + x * grid[1] // width for x, y in points]
    if not queries:
        queries = middles_of_classes(of_positions.view(grid), 4, head.ignore_index)
    _, prior = head.forward_with_prior(model.extract_feat(image))
    preprocessor = model.data_preprocessor
    pixels = (image * preprocessor.std + preprocessor.mean)[0].permute(1, 2, 0)
    pixels = np.clip(pixels.cpu().numpy() / 255, 0, 1)
    figure, axes = plt.subplots(
        len(queries),
        3,
        figsize=(12, 0.5 + 4 * len(queries) * height / width),
        squeeze=False,
        layout="constrained",
    )
    for axis, title in zip(axes[0], ("pixel", "ideal affinity", "context prior"), strict=True):
        axis.set_title(title)
    for row, query in zip(axes, queries, strict=True):
        maps = (of_positions == of_positions[query]).float(), prior[0, query]
        for axis, values in zip(row[1:], maps, strict=True):
            shown = axis.imshow(
                values.view(grid).cpu(), vmin=0, vmax=1, extent=(0, width, height, 0)
            )
        row[0].imshow(pixels, extent=(0, width, height, 0))
        row_index, column_index = divmod(query, grid[1])
        x, y = (column_index + 0.5) * width / grid[1], (row_index + 0.5) * height / grid[0]
        for axis in row:
            axis.plot(x, y, "o", color="red", markeredgecolor="white")
            axis.axis("off")
    figure.colorbar(shown, ax=axes, location="bottom", shrink=0.3, label="of the pixel's class")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=100)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument("--index", type=int, default=0, help="of the test image (default: 0)")
    parser.add_argument(
        "--points",
        nargs="+",
        default=[],
        type=lambda text: tuple(map(int, text.split(","))),
        metavar="X,Y",
        help="pixels of the window (default: the middles of the four largest classes)",
    )
    parser.add_argument("--out", type=picture_file, default="work_dirs/context_prior.png")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="as for training")
    args = parser.parse_args(arguments)
    try:
        config = resolved_config(args.config)
        config.merge_from_dict(args.cfg_options or {})
        require_parts(config, "model", "test_dataloader")
        model = load_model(config, args.checkpoint, "cpu")
        if not isinstance(model.decode_head, CPHead):
            head = type(model.decode_head).__name__
            raise ValueError(f"{args.config} has a {head} and no context prior")
        dataset = DATASETS.build(config.test_dataloader.dataset)
        draw(model, dataset[args.index], args.points, args.out)
    except (IndexError, OSError, ValueError) as error:
        parser.error(str(error))
    print(f"picture: {args.out.absolute()}")


if __name__ == "__main__":
    main()
