"""Initialisation that holds for all of a module."""

from __future__ import annotations

from mmengine.model import BaseModule, initialize


class InitialisedLast(BaseModule):
    """A module whose ``init_cfg`` has the last word on everything in it.

    MMEngine initialises a module first and its children afterwards, and mmcv's ``ConvModule`` has
    an initialisation of its own: an ``init_cfg`` for convs would reach none of its children.
    """

    def init_weights(self) -> None:
        """Initialise the children, then all of it as ``init_cfg`` says."""
        super().init_weights()
        if self.init_cfg is not None:
            initialize(self, self.init_cfg)
