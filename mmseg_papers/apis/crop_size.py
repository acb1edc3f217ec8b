"""Configs for crops of another size."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..models.option_errors import typed_parts
from .configs import require_parts, resolved_config, transform_name

#: Options in pixels: as (height, width); as (width, height), one or several; as one length.
SIZES = ("crop_size", "size", "test_size", "prior_size")
SCALES = ("scale", "scales")
#: Transform -> its option that holds factors of an image's size.
FACTORS = {"Resize": "scale_factor", "RandomRelativeResize": "ratio_range"}
LENGTHS = ("tile_size", "min_short_side")


def with_crop_size(config: str | Path | Config, crop_size: Sequence[int]) -> Config:
    """Change the size of a config's crops, and with it every other size in pixels.

    The crops of training and of sliding windows and their strides, the padding, and the prior of
    CPNet change as the crop's height and width do; the scales that images are resized to or by, as
    the side that shrinks most, and a pipeline that resizes none gets a ``Resize``. So a crop shows
    as much of a scene as before, at another resolution. The pixels that a loss keeps at least
    change as the crop's area.

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
    sides = [Fraction(*pair) for pair in zip(crop_size, old, strict=True)]
    least, area = min(sides), sides[0] * sides[1]

    def shrunk(part: Any) -> Any:
        if isinstance(part, (tuple, list)):
            return type(part)(map(shrunk, part))
        return max(round(part * least), 1) if isinstance(part, int) else part

    def changed(part: Any, option: str = "", slides: bool = False, is_model: bool = False) -> Any:
        if isinstance(part, dict):
            slides = "crop_size" in part
            return type(part)((k, changed(v, k, slides, is_model)) for k, v in part.items())
        in_pixels = option in SIZES or (option == "stride" and slides)
        if in_pixels and isinstance(part, (tuple, list)) and len(part) == 2:
            # Rounded up, as the sizes of feature maps are.
            return tuple(-(-n * a // b) for n, a, b in zip(part, crop_size, old, strict=True))
        if option == "min_kept" and isinstance(part, int):
            return max(round(part * area), 1)
        is_scale = option in SCALES and isinstance(part, (tuple, list)) and not is_model
        if option in LENGTHS or is_scale:
            return shrunk(part)
        if isinstance(part, (tuple, list)):
            members = type(part)(changed(m, option, is_model=is_model) for m in part)
            return with_factors(members, least) if option.endswith("pipeline") else members
        return part

    for key, value in config.items():
        config[key] = changed(value, key, is_model=key == "model")
    return config


def with_factors(pipeline: Sequence[dict], least: Fraction) -> Sequence[dict]:
    """Change the factors that a pipeline resizes images by, or resize them.

    Args:
        pipeline (Sequence[dict]): Transforms; the scales in pixels are changed already.
        least (Fraction): New size over old.

    Returns:
        Sequence[dict]: The same transforms, perhaps with one more.
    """
    is_resized = False
    for step in pipeline:
        parts = [part for _, part in typed_parts(step)]
        for part in parts:
            factor = FACTORS.get(transform_name(part))
            # After a size in pixels a factor is relative to that.
            if factor in part and not is_resized:
                several = isinstance(part[factor], (tuple, list))
                values = part[factor] if several else (part[factor],)
                scaled = tuple(float(value * least) for value in values)
                part[factor] = scaled if several else scaled[0]
        names = {transform_name(part) for part in parts} - {"ResizeToMultiple"}
        is_resized |= any("Resize" in name for name in names)
    loads = [i for i, s in enumerate(pipeline) if "LoadImage" in transform_name(s)]
    if is_resized or not loads or least == 1:
        return pipeline
    resize = dict(type="Resize", scale_factor=float(least), keep_ratio=True)
    return type(pipeline)([*pipeline[: loads[0] + 1], resize, *pipeline[loads[0] + 1 :]])
