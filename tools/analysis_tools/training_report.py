"""Draw what a training run learnt: image, label and prediction side by side, and its curves.

python tools/analysis_tools/training_report.py CONFIG WORK_DIR
"""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Patch
from mmengine.config import Config, DictAction
from mmengine.dataset import pseudo_collate
from mmengine.runner import find_latest_checkpoint
from mmseg.registry import DATASETS

from mmseg_papers.apis import load_model
from mmseg_papers.apis.configs import resolved_config
from mmseg_papers.arguments import positive
from mmseg_papers.pictures import picture_of

IGNORED_COLOUR = (0, 0, 0)


def read_scalars(work_dir: Path) -> list[dict]:
    """The log records of the latest training run.

    Args:
        work_dir (Path): Where the runner wrote.

    Returns:
        list[dict]: One dict a log line, as in ``vis_data/scalars.json``.

    Raises:
        FileNotFoundError: If no run has logged a loss there.
    """
    for file in sorted(work_dir.glob("*/vis_data/scalars.json"), reverse=True):
        lines = file.read_text().splitlines()
        records = [json.loads(line) for line in lines[:-1]]
        with suppress(json.JSONDecodeError):  # of a run that was killed while it wrote
            records += [json.loads(line) for line in lines[-1:]]
        if any("loss" in record for record in records):
            return records
    raise FileNotFoundError(f"{work_dir} holds no */vis_data/scalars.json with a loss")


def draw_curves(records: list[dict], target: Path) -> None:
    """Plot the loss of every log line and the mIoU of every validation.

    Args:
        records (list[dict]): As :func:`read_scalars` returns.
        target (Path): PNG file to write.
    """
    losses = [(r["iter"], r["loss"]) for r in records if "loss" in r]
    scores = [(r["step"], r["mIoU"]) for r in records if "mIoU" in r]
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    axis.plot(*zip(*losses, strict=True), color="tab:blue", label="training loss")
    axis.set(xlabel="iteration", ylabel="loss", ylim=(0, None))
    handles = axis.get_legend_handles_labels()[0]
    if scores:
        right = axis.twinx()
        right.plot(*zip(*scores, strict=True), "o-", color="tab:orange", label="validation mIoU")
        right.set(ylabel="mIoU (%)", ylim=(0, 100))
        handles += right.get_legend_handles_labels()[0]
    axis.legend(handles=handles, loc="upper center", ncols=2)
    axis.grid(alpha=0.3)
    figure.savefig(target, dpi=120)
    plt.close(figure)


def colourise(labels: np.ndarray, palette: list[list[int]]) -> np.ndarray:
    """Colours of a label map.

    Args:
        labels (np.ndarray): Class indices, (H, W); indices without a class are ignored pixels.
        palette (list[list[int]]): RGB of each class.

    Returns:
        np.ndarray: (H, W, 3), uint8, RGB.
    """
    table = np.full((256, 3), IGNORED_COLOUR, np.uint8)
    table[: len(palette)] = palette
    return table[labels]


def draw_predictions(config: Config, checkpoint: str, target: Path, count: int) -> None:
    """Draw images of the test set with their labels and predictions.

    Args:
        config (Config): Config of the run.
        checkpoint (str): Weights.
        target (Path): PNG file to write.
        count (int): Number of images, spread evenly over the test set.
    """
    model = load_model(config, checkpoint, "cpu")
    dataset = DATASETS.build(config.test_dataloader.dataset)
    classes, palette = dataset.metainfo["classes"], dataset.metainfo["palette"]
    indices = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)
    rows = []
    for index in indices:
        data = dataset[index]
        with torch.no_grad():
            sample = model.test_step(pseudo_collate([data]))[0]
        image = picture_of(data["inputs"], (2, 1, 0), sample.ori_shape)
        truth = sample.gt_sem_seg.data[0].numpy()
        # With one output channel mmseg's labels are floats.
        prediction = sample.pred_sem_seg.data[0].numpy().astype(int)
        rows.append((image, colourise(truth, palette), colourise(prediction, palette)))
    height, width = rows[0][0].shape[:2]
    figure, axes = plt.subplots(
        len(rows),
        3,
        figsize=(12, 4 * len(rows) * height / width + 0.9),
        squeeze=False,
        layout="constrained",
    )
    for axis, title in zip(axes[0], ("image", "label", "prediction"), strict=True):
        axis.set_title(title)
    for axis, picture in zip(axes.flat, (p for row in rows for p in row), strict=True):
        axis.imshow(picture, interpolation="nearest")
        axis.axis("off")
    patches = [
        Patch(facecolor=np.array(colour) / 255, edgecolor="grey", label=name)
        for name, colour in [*zip(classes, palette, strict=True), ("ignored", IGNORED_COLOUR)]
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=10, fontsize=8)
    figure.savefig(target, dpi=100)
    plt.close(figure)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config", help="config of the run")
    parser.add_argument("work_dir", type=Path, help="where the run wrote")
    parser.add_argument("--checkpoint", help="default: the latest in WORK_DIR")
    parser.add_argument("--count", type=positive, default=4, help="number of images (default: 4)")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="as for training")
    args = parser.parse_args()
    try:
        records = read_scalars(args.work_dir)
        checkpoint = args.checkpoint or find_latest_checkpoint(str(args.work_dir))
        if checkpoint is None:
            raise FileNotFoundError(f"{args.work_dir} holds no checkpoint")
        config = resolved_config(args.config)
        config.merge_from_dict(args.cfg_options or {})
        folder = args.work_dir / "report"
        folder.mkdir(exist_ok=True)
        draw_curves(records, folder / "curves.png")
        draw_predictions(config, checkpoint, folder / "predictions.png", args.count)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    print(f"pictures: {folder.absolute() / 'predictions.png'}")
    print(f"curves:   {folder.absolute() / 'curves.png'}")


if __name__ == "__main__":
    main()
