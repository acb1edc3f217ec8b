"""Initialisation that holds for all of a module."""

from __future__ import annotations

from mmengine.model import BaseModule, initialize


class InitialisedLast(BaseModule):
    """A module whose ``init_cfg`` has the last word on everything in it.

    MMEngine initialises a module first and its children afterwards, and mmcv's ``ConvModule`` has
    an initialisation of its own: an ``init_cfg`` for convs would reach none of its children.
    Where it is only for layers of the module's own, these keep what they got.
    """

    def init_weights(self) -> None:
        """Initialise the children, then all of it as ``init_cfg`` says, weights from files last."""
        is_first = not self.is_init
        super().init_weights()
        if is_first and self.init_cfg:
            cfgs = self.init_cfg if isinstance(self.init_cfg, (list, tuple)) else [self.init_cfg]
            if any(map(self._reaches_children, cfgs)):
                initialize(self, sorted(cfgs, key=_is_pretrained))

    def _reaches_children(self, init_cfg: dict) -> bool:
        """Whether it is for layers inside of children, which have initialised these since."""
        override = init_cfg.get("override") or ()
        named = [override] if isinstance(override, dict) else override
        parts = [getattr(self, cfg["name"]) for cfg in named]
        return "layer" in init_cfg or any(any(part.children()) for part in parts)


def _is_pretrained(init_cfg: dict) -> bool:
    return "Pretrained" in str(init_cfg["type"])
