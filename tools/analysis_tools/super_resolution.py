"""Draw what DSRL's SISR branch restores: input, super-resolved image and original side by side.

python tools/analysis_tools/super_resolution.py CONFIG CHECKPOINT IMAGE [IMAGE ..]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from mmengine.config import DictAction
from mmengine.dataset import pseudo_collate
from torch import Tensor

from mmseg_papers.apis import Predictor
from mmseg_papers.apis.configs import resolved_config
from mmseg_papers.arguments import picture_file
from mmseg_papers.models.segmentors import DSRLEncoderDecoder


@torch.no_grad()
def super_resolve(predictor: Predictor, image: np.ndarray) -> dict[str, Tensor]:
    """The network's input, what SISR makes of it, and the image itself.

    Args:
        predictor (Predictor): Its model is a ``DSRLEncoderDecoder`` with a SISR branch.
        image (np.ndarray): (H, W, 3), BGR; goes through the config's test pipeline.

    Returns:
        dict[str, Tensor]: Title -> RGB image, (H, W, 3) in [0, 1]; the input at its own size. The
        reconstruction's title gives its PSNR and that of bilinear interpolation.
    """
    model = predictor.model
    data = pseudo_collate([predictor.pipeline(dict(img=image))])
    full = model.data_preprocessor(data, training=False)["inputs"]
    full = full[:, :, : full.shape[2] // 2 * 2, : full.shape[3] // 2 * 2]
    half, restored = model.halve(full), model.super_resolve_image(full)
    bilinear = F.interpolate(half, full.shape[2:], mode="bilinear", align_corners=True)
    half, full, bilinear, restored = (pixels(model, x) for x in (half, full, bilinear, restored))
    return {
        f"input, {half.shape[0]} x {half.shape[1]} (bilinear {psnr(bilinear, full):.1f} dB)": half,
        f"SISR, {psnr(restored, full):.1f} dB": restored,
        f"image, {full.shape[0]} x {full.shape[1]}": full,
    }


def pixels(model: DSRLEncoderDecoder, x: Tensor) -> Tensor:
    """A normalised batch of one as an image, (H, W, 3) in [0, 1]."""
    preprocessor = model.data_preprocessor
    x = x * preprocessor.std + preprocessor.mean if preprocessor._enable_normalize else x
    return (x[0] / 255).clamp(0, 1).permute(1, 2, 0).cpu()


def psnr(image: Tensor, original: Tensor) -> float:
    """Peak signal-to-noise ratio in decibels of images in [0, 1]."""
    return -10 * (image - original).square().mean().clamp(min=1e-10).log10().item()


def draw(results: list[dict[str, Tensor]], out: Path) -> None:
    """One row an image."""
    height, width = list(results[0].values())[-1].shape[:2]
    size = (12, 0.6 + 4 * height / width * len(results))
    figure, axes = plt.subplots(len(results), 3, figsize=size, squeeze=False, layout="constrained")
    for row, result in zip(axes, results, strict=True):
        for axis, (title, image) in zip(row, result.items(), strict=True):
            show(axis, title, image)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    plt.close(figure)


def show(axis: Axes, title: str, image: Tensor) -> None:
    """An image with each of its pixels visible."""
    axis.imshow(image.numpy(), interpolation="nearest")
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config")
    parser.add_argument("checkpoint", help="of a training run: an exported one has no SISR branch")
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--out", type=picture_file, default="work_dirs/super_resolution.png")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args()
    images = [cv2.imread(file) for file in args.images]
    for file, image in zip(args.images, images, strict=True):
        if image is None:
            parser.error(f"{file} is no image that OpenCV can read")
    try:
        config = resolved_config(args.config)
        config.merge_from_dict(args.cfg_options)
        predictor = Predictor(config, args.checkpoint, args.device)
        if getattr(predictor.model, "sisr_head", None) is None:
            raise ValueError(f"the model of {args.config} has no sisr_head")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    draw([super_resolve(predictor, image) for image in images], args.out)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
