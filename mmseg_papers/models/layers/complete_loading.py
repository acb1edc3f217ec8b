"""Weights that do not fit are refused by name instead of being loaded in part."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, zip_longest
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

#: Metadata of a state dict that comes from a paper's authors: where from.
SOURCE = "mmseg_papers_source"


class CompleteLoading(nn.Module):
    """Mixin for backbones: a state dict loads whole or not at all.

    MMEngine loads ``init_cfg=dict(type='Pretrained')`` and ``load_from`` non-strictly: a file of
    another width, or one with a prefix, leaves the network partly or wholly random and says so in
    a warning only. A module with this mixin raises before the first tensor is copied. Extra
    entries of the file (its ImageNet classifier) are no error.

    A backbone for C other than 3 channels takes the first conv of a file for RGB images by a rule:
    the channels take the filters of red, green and blue in turn and share them equally; one or two
    channels share the sum of the three. So C equal channels give what three equal ones did.
    """

    #: Submodules that a file may lack as a whole: what a model adds to a published backbone, on top
    #: of what its bases add.
    optional_children: tuple[str, ...] = ()

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args, **kwargs
    ) -> None:
        missing, misfits = [], []
        of_bases = (vars(base).get("optional_children", ()) for base in type(self).__mro__)
        absent = tuple(
            f"{child}."
            for child in {*self.optional_children, *chain(*of_bases)}
            if not any(key.startswith(f"{prefix}{child}.") for key in state_dict)
        )
        for name, tensor in self.state_dict().items():
            key = prefix + name
            if key not in state_dict:
                if _is_read(name) and not name.startswith(absent):
                    missing.append(key)
            elif is_rgb_filter(state_dict[key], tensor):
                state_dict[key] = filters_of_rgb(state_dict[key], tensor.shape[1])
                print_log(
                    f"{key}: filters of RGB images were turned into ones of {tensor.shape[1]} "
                    "channels",
                    "current",
                )
            elif state_dict[key].shape != tensor.shape:
                misfits.append(
                    f"{key}: {list(state_dict[key].shape)} instead of {list(tensor.shape)}"
                )
        if missing or misfits:
            raise RuntimeError(
                f"the weights do not fit this {type(self).__name__}; nothing was loaded. "
                f"{_problems(missing, [], misfits)}Is the file of another variant (arch), does it "
                "need init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.'), or "
                "does a subclass add layers that its optional_children do not name?"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _is_read(name: str) -> bool:
    """Whether a model needs a weight; files from before PyTorch 0.4.1 have no batch counters."""
    return not name.endswith("num_batches_tracked")


def _problems(missing: list[str], extra: list[str], changes: list[str]) -> str:
    """Sentences that name the first three weights of each kind."""
    kinds = (("missing", missing), ("left over", extra), ("of another shape", changes))
    return "".join(
        f"{len(names)} {kind}: {', '.join(names[:3])}{', ...' * (len(names) > 3)}. "
        for kind, names in kinds
        if names
    )


def is_rgb_filter(loaded: Tensor, own: Tensor) -> bool:
    """Whether two filter banks differ in that the loaded one is for three channels.

    Args:
        loaded (Tensor): Of a file, (O, C, k, k), or a value that is no filter bank.
        own (Tensor): Of a model, likewise.

    Returns:
        bool: True if :func:`filters_of_rgb` makes the one fit the other.
    """
    return (
        isinstance(loaded, Tensor)
        and loaded.dim() == own.dim() == 4
        and loaded.shape[1] == 3 != own.shape[1]
        and (loaded.shape[0], *loaded.shape[2:]) == (own.shape[0], *own.shape[2:])
    )


def filters_of_rgb(weight: Tensor, channels: int) -> Tensor:
    """Filters for any number of channels from those for RGB images.

    Args:
        weight (Tensor): (O, 3, k, k).
        channels (int): Channels of the images.

    Returns:
        Tensor: (O, channels, k, k), whose sum over the channels is that of ``weight``.
    """
    if channels < 3:
        return weight.sum(dim=1, keepdim=True).expand(-1, channels, -1, -1) / channels
    color = torch.arange(channels, device=weight.device) % 3
    return weight[:, color] / color.bincount()[color].view(1, -1, 1, 1)


def check_whole(
    model: nn.Module, state_dict: dict[str, Tensor], source: str, *, but_classes: bool = False
) -> dict[str, str]:
    """Refuse weights that do not fit a segmentor name by name.

    MMEngine would load what fits and leave the rest random, with a warning. Children that only
    train (the model's ``training_only``, else ``auxiliary_head``) may be missing or left over as a
    whole; the log names these.

    Args:
        model (nn.Module): A segmentor.
        state_dict (dict[str, Tensor]): Its weights to be.
        source (str): Where they come from, for messages.
        but_classes (bool): Let weights differ that depend on the number of classes, and a backbone
            turn filters for RGB images to its channels. Default: False.

    Returns:
        dict[str, str]: What does not come from the file, and why: weights of other classes, with
        both shapes, and missing children.

    Raises:
        ValueError: If a weight is missing, left over or of another shape. Nothing was loaded.
    """
    own, theirs, random = model.state_dict(), dict(state_dict), {}
    for name, module in model.named_modules():
        if hasattr(module, "rename_keys"):
            module.rename_keys(theirs, f"{name}." if name else "")
    for child in getattr(model, "training_only", ("auxiliary_head",)):
        inside = f"{child}."
        in_model, in_file = (any(k.startswith(inside) for k in names) for names in (own, theirs))
        if in_model == in_file:
            continue
        if in_model:
            random[child] = "not in the file"
        place = "file" if in_model else "model"
        print_log(f"{source}: {child}, of use in training only, is not in the {place}", "current")
        own, theirs = (
            {k: value for k, value in weights.items() if not k.startswith(inside)}
            for weights in (own, theirs)
        )
    missing = [k for k in own if k not in theirs and _is_read(k)]
    extra = [k for k in theirs if k not in own]
    misfits = {
        k: (there, list(value.shape))
        for k, value in own.items()
        if k in theirs and (there := list(getattr(theirs[k], "shape", ()))) != list(value.shape)
    }
    of_classes = _of_classes(model, misfits)
    if but_classes:
        random |= {k: f"{misfits[k][0]} there, {misfits[k][1]} here" for k in of_classes}
        adapts = isinstance(getattr(model, "backbone", None), CompleteLoading)
        misfits = {
            k: pair
            for k, pair in misfits.items()
            if k not in of_classes
            and not (adapts and k.startswith("backbone.") and is_rgb_filter(theirs[k], own[k]))
        }
    if not (missing or extra or misfits):
        return random
    changes = [f"{k}: {there} instead of {here}" for k, (there, here) in misfits.items()]
    cure = "Is the file of another variant than the config?"
    if not (missing or extra or set(misfits) - set(of_classes)):
        cure = (
            "Set num_classes of the heads, and the data set, to what it was trained with. Training "
            f"of other classes starts from it by custom_hooks = [dict(type='FineTuneHook', "
            f"checkpoint='{source}')]"
        )
    raise ValueError(
        f"{source} does not fit this model; nothing was loaded. "
        f"{_problems(missing, extra, changes)}{cure}"
    )


def without_wrapper(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Weights under the names they have without ``DistributedDataParallel`` around the model.

    Args:
        state_dict (Mapping[str, Any]): With or without ``module.`` before every name.

    Returns:
        dict[str, Any]: A copy without.

    Raises:
        ValueError: If a name is there with and without ``module.``.
    """
    unwrapped = {name.removeprefix("module."): value for name, value in state_dict.items()}
    if len(unwrapped) < len(state_dict):
        twice = [k for k in unwrapped if k in state_dict and f"module.{k}" in state_dict]
        raise ValueError(
            f"{len(twice)} keys of the checkpoint are there with and without 'module.': "
            f"{', '.join(twice[:5])}{', ..' * (len(twice) > 5)}; keep one of each"
        )
    return unwrapped


def load_whole(
    model: nn.Module, state_dict: Mapping[str, Any], source: str, *, but_classes: bool = False
) -> dict[str, str]:
    """Load a segmentor's weights, if they fit by :func:`check_whole`.

    Args:
        model (nn.Module): A segmentor; changed in place.
        state_dict (Mapping[str, Any]): Its weights; names may begin with ``module.``.
        source (str): Where they come from, for messages.
        but_classes (bool): As for :func:`check_whole`. Default: False.

    Returns:
        dict[str, str]: What stays as it was, and why, as from :func:`check_whole`.

    Raises:
        ValueError: If a weight is missing, left over, of another shape, NaN or infinite. Nothing
            was loaded.
    """
    state_dict = without_wrapper(state_dict)
    unloaded = check_whole(model, state_dict, source, but_classes=but_classes)
    fitting = {name: value for name, value in state_dict.items() if name not in unloaded}
    for name, value in fitting.items():
        if isinstance(value, Tensor) and not value.isfinite().all():
            raise ValueError(f"{source}: {name} is not finite; take a checkpoint from before that")
    model.load_state_dict(fitting, strict=False)
    return unloaded


def _of_classes(model: nn.Module, misfits: dict[str, tuple[list[int], list[int]]]) -> list[str]:
    """Names of weights whose shapes differ as by another number of classes, a head's all or none.

    Within a head each number that follows the classes must become one other number.
    """
    heads = []
    for name in ("decode_head", "auxiliary_head"):
        head = getattr(model, name, None)
        stages = head.named_children() if isinstance(head, nn.ModuleList) else [(None, head)]
        heads += [(f"{name}." if i is None else f"{name}.{i}.", stage) for i, stage in stages]
    # What DSRL builds on the decode head's logits and last map.
    heads += [(f"{name}.", heads[0][1]) for name in ("sssr", "feature_transform")]
    found = []
    for prefix, head in heads:
        inside = {k: pair for k, pair in misfits.items() if k.startswith(prefix)}
        changes = {
            (here, there)
            for shapes in inside.values()
            for there, here in zip_longest(*shapes)
            if here != there
        }
        classes = getattr(head, "num_classes", 0)
        outputs = getattr(head, "out_channels", None)
        # Heads of masks have one more output, for no object.
        channels = (classes, classes + 1) if outputs is None else (outputs,)
        channels = getattr(head, "class_channels", channels)
        if {here for here, _ in changes} <= set(channels) and len(dict(changes)) == len(changes):
            found += inside
    return found
