"""RefineNet: DrSleep's PyTorch files, full and light-weight, and the authors' MATLAB files.

The originals number blocks and paths from the coarsest level on, we from the finest, as the paper.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from mmengine.logging import print_log
from torch import Tensor

from .keys import fold_conv_bias, rename

#: The authors' .mat files: rows of the classifier, the void row, and the order of pooling.
MAT_FILES: dict[str, tuple[int, str | None, bool]] = {
    "ade20k": (151, "first", False),
    "cityscapes": (20, "last", True),
    "nyudv2": (41, "last", False),
    "pascal_context": (60, None, False),
    "person_part": (7, None, False),
    "sunrgbd": (38, "first", False),
    "voc": (22, "last", True),
}
MATCONVNET_EPS = 1e-5


def convert(
    state_dict: dict[str, Tensor],
    void: str | None = None,
    pool_first: bool | None = None,
    mat_file: str | None = None,
) -> dict[str, Tensor]:
    """Weights of RefineNet -> ours.

    What cannot be seen in a file is asked for, and what was assumed is logged. DrSleep's files have
    no void class and pool first; files trained by others with his code may differ. Both orders of
    pooling have other names here, so that weights of one do not load into the other.

    Args:
        state_dict (dict[str, Tensor]): The original weights; of a MATLAB file what the dump
            described in configs/refinenet/README.md has.
        void (str, optional): ``'first'`` or ``'last'`` if the classifier has a row for void, which
            is dropped. Default: every row is a class.
        pool_first (bool, optional): Whether chained residual pooling pools before it convolves.
            Default: as the names say, ``*_pb1`` for conv first, else pool first.
        mat_file (str, optional): For the authors' MATLAB files: a key of :data:`MAT_FILES`, which
            gives void class and order of pooling. MATLAB files with a classifier that others
            trained need ``pool_first``, and ``void`` if there is such a row.

    Returns:
        dict[str, Tensor]: Weights of an ``EncoderDecoder`` with ``ResNet`` or
        ``LightWeightMobileNetV2`` and ``RefineNetHead`` or ``LightWeightRefineNetHead``; without a
        backbone in the file those of the head, and of a part of the network those of the part.

    Raises:
        ValueError: If an option is unknown or contradicts the file.
        KeyError: If a key belongs to no known module.
    """
    if any(re.search(r"_(filter|moments)$", key) for key in state_dict):
        if mat_file is not None:
            if void is not None or pool_first is not None:
                raise ValueError("mat_file implies void and pool_first; give it alone")
            void, pool_first = _of_mat_file(state_dict, mat_file)
        elif "clf_conv_filter" in state_dict and pool_first is None:
            raise ValueError(
                f"a MATLAB file of the authors needs mat_file, one of {', '.join(MAT_FILES)}; "
                "another one pool_first, and void if its classifier has such a row"
            )
        state_dict = _read_mat(state_dict)
    elif mat_file is not None:
        raise ValueError(f"mat_file={mat_file!r} is for MATLAB files; these keys are of no such")
    if void not in (None, "first", "last"):
        raise ValueError(f"void must be None, 'first' or 'last', got {void!r}")
    pool_first = _check_order(state_dict, pool_first)
    ours = rename(state_dict, _rules(state_dict, pool_first))
    classifier = next((key for key in ours if key.endswith("conv_seg.weight")), None)
    if classifier is not None:
        for key in (classifier, classifier.replace("weight", "bias")):
            ours[key] = {None: ours[key], "first": ours[key][1:], "last": ours[key][:-1]}[void]
        print_log(
            f"RefineNet weights: {len(ours[classifier])} classes, void row: {void}; "
            f"pooling {'before' if pool_first else 'after'} the convs",
            "current",
        )
    return ours


def _check_order(state_dict: dict[str, Tensor], asked: bool | None) -> bool:
    conv_first = any(re.search(r"_pb\d+\.", key) for key in state_dict)
    if asked and conv_first:
        raise ValueError("pool_first=True, but the names (*_pb1) are of conv-first pooling")
    return not conv_first if asked is None else asked


def _rules(
    state_dict: dict[str, Tensor], pool_first: bool
) -> list[tuple[str, str | Callable[[re.Match], str] | None]]:
    """Original names -> ours. Paths and blocks are counted, since ours run the other way."""
    found = [re.match(r"p_ims(\w+?)_outl(\d+)_dimred", key) for key in state_dict]
    scales = sorted({m[1] for m in found if m})
    outputs = sorted({int(m[2]) for m in found if m})
    levels, first = len(outputs), (outputs or [1])[0]
    groups = [int(m[1]) for m in (re.match(r"mflow_conv_g(\d+)_", key) for key in state_dict) if m]
    has_backbone = any(key.startswith("layer1.") for key in state_dict)
    head = "decode_head." if has_backbone else ""
    stages = "pool_convs" if pool_first else "conv_pools"

    def path(number: int, scale: int = 0) -> str:
        """A path by its number, counted from the coarsest level of the first scale on."""
        scale, level = divmod(scale * levels + number - first, max(levels, 1))
        return f"{head}paths.{scale * levels + levels - 1 - level}."

    def block(number: str) -> str:
        return f"{head}blocks.{max(groups) - int(number)}."

    def unit(number: str, second: str | None) -> str:
        return f"{int(number) - 1}.conv{2 if second else 1}."

    a_unit = r"_b(?:\.0\.)?(\d+)_conv(_relu_varout_dimred)?\."
    return [
        # Light-weight on MobileNetV2.
        (r"layer1\.0\.weight", "backbone.conv1.conv.weight"),
        (r"layer1\.1\.(?=\w+$)", "backbone.conv1.bn."),
        (
            r"layer(\d)\.(\d+)\.output\.(\d)\.([01])\.",
            lambda m: (
                f"backbone.layer{int(m[1]) - 1}.{m[2]}.conv.{m[3]}.{('conv', 'bn')[int(m[4])]}."
            ),
        ),
        (
            r"conv([3-8])\.weight",
            lambda m: f"{head}paths.{int(m[1]) - 3}.reduction.weight",
        ),
        (
            r"crp(\d)\.0\.(\d)_outvar_dimred\.",
            lambda m: f"{head}blocks.{int(m[1]) - 1}.pooling.{stages}.{int(m[2]) - 1}.",
        ),
        (r"conv_adapt(\d)\.", lambda m: f"{head}blocks.{int(m[1]) - 1}.link."),
        (r"segm\.", f"{head}conv_seg."),
        # ResNet; the fully connected layer is ImageNet's.
        (r"(conv1|bn1|layer[1-4])\.", r"backbone.\g<0>"),
        (r"fc\.", None),
        # Decoder.
        (
            r"p_ims(\w+?)_outl(\d+)_dimred\.",
            lambda m: path(int(m[2]), scales.index(m[1])) + "reduction.",
        ),
        (
            r"adapt_(?:stage|input_path)(\d+)" + a_unit,
            lambda m: f"{path(int(m[1]))}units.{unit(m[2], m[3])}",
        ),
        (
            r"adapt_(?:stage|input_path)(\d+)_b\d+_joint_varout_dimred\.",
            lambda m: path(int(m[1])) + "fusion.",
        ),
        (
            r"mflow_conv_g(\d+)_pool(?:\.0\.)?(\d+)_outvar_dimred\.",
            lambda m: f"{block(m[1])}pooling.{stages}.{int(m[2]) - 1}.",
        ),
        (
            r"mflow_conv_g(\d+)_pool(?:prev_relu_varout|\d+_outvar)_pb(\d+)\.",
            lambda m: f"{block(m[1])}pooling.{stages}.{int(m[2]) - 1}.",
        ),
        (
            r"mflow_conv_g(\d+)" + a_unit,
            lambda m: f"{block(m[1])}units.{unit(m[2], m[3])}",
        ),
        (r"mflow_conv_g(\d+)_b\d+_joint_varout_dimred\.", lambda m: block(m[1]) + "link."),
        (r"lossblock" + a_unit, lambda m: f"{head}final_units.{unit(m[1], m[2])}"),
        (r"clf_conv\.", f"{head}conv_seg."),
        # A part alone: RCUs, and chained residual pooling.
        (r"(\d+)_conv(_relu_varout_dimred)?\.", lambda m: unit(m[1], m[2])),
        (r"(\d+)_outvar_dimred\.", lambda m: f"{stages}.{int(m[1]) - 1}."),
    ]


def _of_mat_file(arrays: dict[str, Tensor], mat_file: str) -> tuple[str | None, bool]:
    """The void row and the order of pooling of one of the authors' files."""
    if mat_file not in MAT_FILES:
        raise ValueError(f"mat_file must be one of {', '.join(MAT_FILES)}, got {mat_file!r}")
    rows, void, pool_first = MAT_FILES[mat_file]
    classifier = arrays.get("clf_conv_filter")
    got = rows if classifier is None else classifier.shape[3]
    if got != rows:
        raise ValueError(
            f"mat_file={mat_file!r} has a classifier of {rows} rows, void included, but this one "
            f"has {got}; it is of another data set"
        )
    if pool_first == any(re.search(r"_pb\d+_filter$", key) for key in arrays):
        raise ValueError(
            f"the model of mat_file={mat_file!r} pools {'before' if pool_first else 'after'} the "
            "convs, but the names in this file are of the other order"
        )
    return void, pool_first


def _read_mat(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """MatConvNet's names and layout -> PyTorch's."""
    state_dict: dict[str, Tensor] = {}
    for key, value in arrays.items():
        name, _, kind = key.rpartition("_")
        name = _resnet_name(name)
        if kind == "filter":  # height, width, in, out
            state_dict[f"{name}.weight"] = value.permute(3, 2, 0, 1).contiguous()
        elif kind == "mult":
            state_dict[f"{name}.weight"] = value.flatten()
        elif kind == "bias":
            state_dict[f"{name}.bias"] = value.flatten()
        elif kind == "moments":  # mean, and the root of variance and eps
            state_dict[f"{name}.running_mean"] = value[:, 0]
            state_dict[f"{name}.running_var"] = value[:, 1] ** 2 - MATCONVNET_EPS
            state_dict[f"{name}.num_batches_tracked"] = torch.tensor(0)
        else:
            raise KeyError(f"{key} belongs to no known module")
    fold_conv_bias(state_dict, "conv1", "bn1")
    return state_dict


def _resnet_name(name: str) -> str:
    """``res4b2_branch2a`` -> ``layer3.2.conv1``; other names as they are."""
    if name == "bn_conv1":
        return "bn1"
    if not (m := re.fullmatch(r"(res|bn)(\d)([a-z])(\d*)_branch(1|2[abc])", name)):
        return name
    kind, stage, letter, number, branch = m.groups()
    index = int(number) if number else ord(letter) - ord("a")
    unit = f"layer{int(stage) - 1}.{index}"
    if branch == "1":
        return f"{unit}.downsample.{0 if kind == 'res' else 1}"
    return f"{unit}.{'conv' if kind == 'res' else 'bn'}{'abc'.index(branch[1]) + 1}"
