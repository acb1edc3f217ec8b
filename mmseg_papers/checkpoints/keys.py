"""Steps that the converters share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from mmengine.logging import print_log
from torch import Tensor


def log_left_out(keys: Sequence[str]) -> None:
    """Say which entries of a file are of no use here, such as an ImageNet classifier.

    Args:
        keys (Sequence[str]): Their names.
    """
    if keys:
        print_log(f"left out, of no use here: {', '.join(keys)}", "current")


def rename(
    state_dict: dict[str, Tensor],
    rules: Sequence[tuple[str, str | Callable[[re.Match], str] | None]],
) -> dict[str, Tensor]:
    """Rename every key by the first rule that matches its beginning; the log lists what is dropped.

    Args:
        state_dict (dict[str, Tensor]): Weights.
        rules (Sequence[tuple[str, str | Callable[[re.Match], str] | None]]): Regular expressions
            and what replaces the match, as for ``re.sub``; None drops the key.

    Returns:
        dict[str, Tensor]: Weights under their names here.

    Raises:
        KeyError: If no rule matches a key; names all such keys.
    """
    renamed, left_out, unknown = {}, [], []
    for key, value in state_dict.items():
        for pattern, replacement in rules:
            if match := re.match(pattern, key):
                if replacement is None:
                    left_out.append(key)
                else:
                    is_template = isinstance(replacement, str)
                    start = match.expand(replacement) if is_template else replacement(match)
                    renamed[start + key[match.end() :]] = value
                break
        else:
            unknown.append(key)
    if unknown:
        raise KeyError(
            f"{len(unknown)} keys of the checkpoint belong to no known module: "
            f"{', '.join(unknown[:5])}{', ...' * (len(unknown) > 5)}"
        )
    log_left_out(left_out)
    return renamed


def fold_conv_bias(state_dict: dict[str, Tensor], conv: str, norm: str) -> None:
    """Move the bias of a conv into the BN that follows it, in place.

    BN subtracts its running mean, so taking the bias off the mean is exact in evaluation; in
    training the batch mean removes the bias by itself.

    Args:
        state_dict (dict[str, Tensor]): Weights.
        conv (str): Name of the conv; its ``.bias`` is removed if present.
        norm (str): Name of the BN; its ``.running_mean`` is replaced.
    """
    bias = state_dict.pop(f"{conv}.bias", None)
    if bias is not None:
        state_dict[f"{norm}.running_mean"] = state_dict[f"{norm}.running_mean"] - bias
