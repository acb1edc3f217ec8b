"""Weights that do not fit are refused by name instead of being loaded in part."""

from __future__ import annotations

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

    #: Submodules that a file may lack as a whole: what a model adds to a published backbone.
    optional_children: tuple[str, ...] = ()

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args, **kwargs
    ) -> None:
        missing, misfits = [], []
        absent = tuple(
            f"{child}."
            for child in self.optional_children
            if not any(key.startswith(f"{prefix}{child}.") for key in state_dict)
        )
        for name, tensor in self.state_dict().items():
            key = prefix + name
            if key not in state_dict:
                # Files written before PyTorch 0.4.1 have no batch counters; nothing reads them.
                if not (name.endswith("num_batches_tracked") or name.startswith(absent)):
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
                + "".join(
                    f"{len(names)} {what}: {', '.join(names[:3])}{', ...' * (len(names) > 3)}. "
                    for what, names in (("missing", missing), ("of another shape", misfits))
                    if names
                )
                + "Is the file of another variant (arch), or does it need "
                "init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')?"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def is_rgb_filter(loaded: Tensor, own: Tensor) -> bool:
    """Whether two filter banks differ in that the loaded one is for three channels."""
    return (
        loaded.dim() == own.dim() == 4
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
    model: nn.Module, state_dict: dict[str, Tensor], source: str, training_only: tuple[str, ...]
) -> None:
    """Refuse a file of a paper's authors that does not fit a segmentor name by name.

    MMEngine would load what fits and leave the rest random, with a warning.

    Args:
        model (nn.Module): A segmentor.
        state_dict (dict[str, Tensor]): Its weights to be.
        source (str): Where they come from, for messages.
        training_only (tuple[str, ...]): Children that a file may lack, or have without the model,
            as a whole; the log names these.

    Raises:
        ValueError: If a weight is missing, left over or of another shape. Nothing was loaded.
    """
    own, theirs = model.state_dict(), dict(state_dict)
    for child in training_only:
        in_model, in_file = (
            [k for k in names if k.startswith(f"{child}.")] for names in (own, theirs)
        )
        if bool(in_model) != bool(in_file):
            place = "file" if in_model else "model"
            print_log(
                f"{source}: {child}, of use in training only, is not in the {place}", "current"
            )
        if not (in_model and in_file):
            own = {k: value for k, value in own.items() if k not in in_model}
            theirs = {k: value for k, value in theirs.items() if k not in in_file}
    # Files written before PyTorch 0.4.1 have no batch counters; nothing reads them.
    missing = [k for k in own if k not in theirs and not k.endswith("num_batches_tracked")]
    extra = [k for k in theirs if k not in own]
    misfits = [
        f"{k}: {list(theirs[k].shape)} instead of {list(value.shape)}"
        for k, value in own.items()
        if k in theirs and theirs[k].shape != value.shape
    ]
    problems = (("missing", missing), ("left over", extra), ("of another shape", misfits))
    if missing or extra or misfits:
        raise ValueError(
            f"{source} does not fit this model; nothing was loaded. "
            + "".join(
                f"{len(names)} {what}: {', '.join(names[:3])}{', ...' * (len(names) > 3)}. "
                for what, names in problems
                if names
            )
            + "Is the file of another variant than the config? Training of other classes starts "
            f"from it by custom_hooks = [dict(type='FineTuneHook', checkpoint='{source}')]"
        )
