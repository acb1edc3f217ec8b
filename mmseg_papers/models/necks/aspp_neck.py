"""Atrous spatial pyramid pooling as part of the encoder, for several heads."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from ..layers import ASPP


@MODELS.register_module()
class ASPPNeck(BaseModule):
    """Replace the backbone's last map by its pooled pyramid (arXiv:1706.05587, section 3.3).

    Args:
        **kwargs: As :class:`mmseg_papers.models.layers.ASPP`: ``in_channels``, ``channels``,
            ``rates``, ``output_stride``, ``dropout_ratio``, ``norm_cfg`` and so on.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__()
        self.aspp = ASPP(**kwargs)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Pool the last map.

        Args:
            inputs (Sequence[Tensor]): The backbone's maps.

        Returns:
            tuple[Tensor, ...]: The same, the last one with ``channels`` channels (with
            ``bottleneck_kernel=None`` those of all branches).
        """
        return (*inputs[:-1], self.aspp(inputs[-1]))
