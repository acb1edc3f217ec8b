"""Configs for crops of another size."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .configs import require_parts, resolved_config

#: Options in pixels: as (height, width); as (width, height), one or several; as one length.
SIZES = ("crop_size", "size", "test_size", "prior_size")
SCALES = ("scale", "scales")
LENGTHS = ("tile_size", "min_short_side")


def with_crop_size(config: str | Path | Config, crop_size: Sequence[int]) -> Config:
    """Change the size of a config's crops, and with it every other size in pixels.

    The crops of training and of sliding windows and their strides, the padding, and the prior of
    CPNet change as the crop's height and width do; the scales that images are resized to, as the
    side that shrinks most. So a crop shows as much of a scene as before, at another resolution.

    Args:
        config (str | Path | Config): Any config with a ``crop_size``, or a packaged config's name.
        crop_size (Sequence[int]): Height and width of the new crop, in pixels.

    Returns:
        Config: The config; one that was given is not changed.

    Raises:
        ValueError: If the config cannot be read or has no ``crop_size``, or a size is not positive.
    """
    config = resolved_config(config)
    require_parts(config, "crop_size")
    crop_size = tuple(crop_size)
    if len(crop_size) != 2 or not all(isinstance(n, int) and n > 0 for n in crop_size):
        raise ValueError(f"crop_size must be two whole numbers above 0, got {crop_size}")
    old = config.crop_size
    least = min(Fraction(*pair) for pair in zip(crop_size, old, strict=True))

    def shrunk(part: Any) -> Any:
        if isinstance(part, (tuple, list)):
            return type(part)(map(shrunk, part))
        return max(round(part * least), 1) if isinstance(part, int) else part

    def changed(part: Any, option: str = "", slides: bool = False) -> Any:
        if isinstance(part, dict):
            slides = "crop_size" in part
            return type(part)((k, changed(v, k, slides)) for k, v in part.items())
        in_pixels = option in SIZES or (option == "stride" and slides)
        if in_pixels and isinstance(part, (tuple, list)) and len(part) == 2:
            # Rounded up, as the sizes of feature maps are.
            return tuple(-(-n * a // b) for n, a, b in zip(part, crop_size, old, strict=True))
        # OCR's scale is a single number, and not in pixels.
        if option in LENGTHS or (option in SCALES and isinstance(part, (tuple, list))):
            return shrunk(part)
        if isinstance(part, (tuple, list)):
            return type(part)(changed(member, option) for member in part)
        return part

    for key, value in config.items():
        config[key] = changed(value, key)
    return config
