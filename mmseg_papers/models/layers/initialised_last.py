"""Initialisation that holds for all of a module."""

from __future__ import annotations

from mmengine.model import BaseModule, initialize


class InitialisedLast(BaseModule):
    """A module whose ``init_cfg`` has the last word on everything in it.

    MMEngine initialises a module first and its children afterwards, and mmcv's ``ConvModule`` has
    an initialisation of its own: an ``init_cfg`` for convs would reach none of its children.
    """

    def init_weights(self) -> None:
        """Initialise the children, then all of it as ``init_cfg`` says, weights from files last."""
        is_first = not self.is_init
        super().init_weights()
        if is_first and self.init_cfg:
            cfgs = self.init_cfg if isinstance(self.init_cfg, (list, tuple)) else [self.init_cfg]
            initialize(self, sorted(cfgs, key=_is_pretrained))


def _is_pretrained(init_cfg: dict) -> bool:
    return "Pretrained" in str(init_cfg["type"])
