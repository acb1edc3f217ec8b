"""Weights that do not fit are refused by name instead of being loaded in part."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class CompleteLoading(nn.Module):
    """Mixin for backbones: a state dict loads whole or not at all.

    MMEngine loads ``init_cfg=dict(type='Pretrained')`` and ``load_from`` non-strictly: a file of
    another width, or one with a prefix, leaves the network partly or wholly random and says so in
    a warning only. A module with this mixin raises before the first tensor is copied. Extra
    entries of the file (its ImageNet classifier) are no error.
    """

    #: Children that a file may lack as a whole: what a model adds to a published backbone.
    optional_children: tuple[str, ...] = ()

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Tensor], prefix: str, *args, **kwargs
    ) -> None:
        missing, misfits = [], []
        absent = {
            child
            for child in self.optional_children
            if not any(key.startswith(f"{prefix}{child}.") for key in state_dict)
        }
        for name, tensor in self.state_dict().items():
            key = prefix + name
            if key not in state_dict:
                # Files written before PyTorch 0.4.1 have no batch counters; nothing reads them.
                is_optional = name.partition(".")[0] in absent
                if not (name.endswith("num_batches_tracked") or is_optional):
                    missing.append(key)
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
