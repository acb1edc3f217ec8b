"""Layers chosen by configuration, among them those that need mmcv's compiled operations."""

from __future__ import annotations

import inspect

from mmcv.cnn import build_upsample_layer
from mmseg.registry import MODELS
from torch import nn

#: Layers that mmcv registers only when its operations are compiled.
COMPILED = ("carafe", "DCN", "DCNv2", "MMSyncBN", "SAC")
#: Options of a head -> the values that ask for its own layers.
PLAIN = {
    "conv_cfg": (None, dict(type="Conv2d"), dict(type="Conv")),
    "act_cfg": (
        dict(type="ReLU"),
        dict(type="ReLU", inplace=True),
        dict(type="ReLU", inplace=False),
    ),
}


def require_layer(cfg: dict | None) -> None:
    """Name the cure where a layer is missing that mmcv would have if it were compiled.

    Args:
        cfg (dict, optional): Of a layer, such as the ``norm_cfg`` of a model.

    Raises:
        ImportError: If the layer needs mmcv's compiled operations and this mmcv has none.
    """
    if cfg is None or cfg["type"] not in COMPILED:
        return
    try:
        import mmcv.ops  # noqa: F401  (registers them)
    except ImportError as error:
        raise ImportError(
            f"{cfg['type']} is one of mmcv's compiled operations and this mmcv has none ({error}). "
            "Compile it, which takes about half an hour: pip install --no-build-isolation "
            "--no-cache-dir --force-reinstall --no-deps onedl-mmcv (OneDL line), or "
            "FORCE_CUDA=1 bash requirements/openmmlab.sh python (OpenMMLab line)"
        ) from error


def require_plain(options: dict, *names: str) -> None:
    """Refuse layers that a head, whose own are fixed, could not build.

    Args:
        options (dict): What the head was given for ``mmseg``'s ``BaseDecodeHead``.
        *names (str): Of ``conv_cfg`` and ``act_cfg``, those that the head does not follow.

    Raises:
        ValueError: If one of these asks for another layer.
    """
    for name in names:
        if options.get(name, PLAIN[name][0]) not in PLAIN[name]:
            plain = " or ".join(dict.fromkeys(str(cfg and cfg["type"]) for cfg in PLAIN[name]))
            raise ValueError(f"{name} must be {plain}, got {options[name]}")


def build_upsample(cfg: dict, channels: int, scale_factor: int) -> nn.Module:
    """Build a registered up-sampling layer that keeps the number of channels.

    Args:
        cfg (dict): ``type`` (``'carafe'``, ``'pixel_shuffle'``, ``'nearest'``, ..) and options.
        channels (int): Channels of its input and output.
        scale_factor (int): Of both sides.

    Returns:
        nn.Module: (N, channels, H, W) -> (N, channels, H * scale_factor, W * scale_factor).

    Raises:
        ValueError: If the layer is unknown or has no ``scale_factor``.
        ImportError: If it needs mmcv's compiled operations and mmcv has none.
    """
    require_layer(cfg)
    layer = MODELS.get(cfg["type"])
    accepted = inspect.signature(layer).parameters if layer else {}
    if "scale_factor" not in accepted:
        raise ValueError(
            f"upsample_cfg must name a registered layer that takes a scale_factor (carafe, "
            f"pixel_shuffle, nearest, bilinear, ..), got {cfg['type']!r}"
        )
    sizes = dict(
        channels=channels, in_channels=channels, out_channels=channels, scale_factor=scale_factor
    )
    return build_upsample_layer(
        {**cfg, **{name: value for name, value in sizes.items() if name in accepted}}
    )


def build_aggregation(
    cfg: dict, in_channels: int, out_channels: int, norm_cfg: dict | None
) -> nn.Module:
    """Build a layer that gathers context around every position.

    Args:
        cfg (dict): ``type`` (a registered name, or the path of a class such as
            ``'mmseg_papers.models.layers.ASPP'``) and options.
        in_channels (int): Channels of its input.
        out_channels (int): Of its output; the layer's option is called so, or ``channels``.
        norm_cfg (dict, optional): Its norms, unless ``cfg`` has others.

    Returns:
        nn.Module: (N, in_channels, H, W) -> (N, out_channels, H, W).

    Raises:
        ValueError: If the layer is unknown or does not take these channels.
    """
    layer = cfg.get("type") if isinstance(cfg, dict) else None
    layer = MODELS.get(layer) if isinstance(layer, str) else layer
    accepted = inspect.signature(layer).parameters if callable(layer) else {}
    if "in_channels" not in accepted or not {"channels", "out_channels"} & accepted.keys():
        raise ValueError(
            "aggregation must be a dict whose type is a layer that takes in_channels and either "
            f"out_channels or channels, such as mmseg_papers.models.layers.ASPP, got {cfg!r}"
        )
    if given := {"in_channels", "out_channels", "channels"} & cfg.keys():
        raise ValueError(
            f"aggregation gets its channels from the head, got {', '.join(sorted(given))}; set "
            "in_channels and prior_channels of the head"
        )
    options = dict(
        in_channels=in_channels, out_channels=out_channels, channels=out_channels, norm_cfg=norm_cfg
    )
    filled = {name: value for name, value in options.items() if name in accepted}
    return MODELS.build({**filled, **cfg})
