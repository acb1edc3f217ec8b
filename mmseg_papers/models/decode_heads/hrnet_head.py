"""Representation heads of HRNet."""

from __future__ import annotations

from collections.abc import Sequence

from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS
from torch import Tensor

from ..layers import convolve_concat, require_plain, select_streams

KERNEL_SIZES = (1, 3)


@MODELS.register_module()
class HRNetV2Head(FCNHead):
    """HRNetV2's representation and classifier (arXiv:1904.04514, figure 4b).

    All streams are resized to the first and concatenated, mixed by a conv, BN and ReLU, and
    classified by a 1x1 conv. The mixing conv runs on the wide streams at their own resolution
    (:mod:`mmseg_papers.ops.upsampled_concat`), so the 15C map is not built. With the stride-4
    stream alone and ``channels`` of 15C it is the head of HRNetV1h (TPAMI figure 10).

    Keys are those of ``mmseg``'s ``FCNHead`` in its HRNet configs. The authors' mixing conv has a
    bias, which :func:`mmseg_papers.checkpoints.convert_state_dict` folds into the BN exactly.
    Paper and code differ: the paper has a linear classifier on the mixed map, the code BN and ReLU
    between them; we follow the code.

    Args:
        in_channels (Sequence[int]): Channels of the streams, e.g. ``(18, 36, 72, 144)``.
        channels (int, optional): Channels of the mixed map. Default: the sum of ``in_channels``.
        in_index (Sequence[int], optional): Which maps of the backbone. Default: all, in order.
        kernel_size (int): Of the mixing conv: 1, or 3 as in openseg.pytorch's heads. Default: 1.
        dropout_ratio (float): Dropout before the classifier; the authors use none, openseg.pytorch
            0.1. Default: 0.
        **kwargs: As ``mmseg``'s ``BaseDecodeHead``: ``num_classes``, ``norm_cfg``,
            ``align_corners``, ``loss_decode`` and so on.

    Raises:
        TypeError: If ``in_channels`` is not a sequence.
        ValueError: If ``in_index`` has another length than ``in_channels``, ``kernel_size`` is not
            1 or 3, or ``conv_cfg`` asks for another kind of convolution.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int | None = None,
        *,
        in_index: Sequence[int] | None = None,
        kernel_size: int = 1,
        dropout_ratio: float = 0.0,
        **kwargs,
    ) -> None:
        if not isinstance(in_channels, (list, tuple)):
            raise TypeError(
                f"in_channels must list the channels of the streams, got {in_channels!r}"
            )
        is_list = isinstance(in_index, (list, tuple))
        if in_index is not None and not (is_list and len(in_index) == len(in_channels)):
            raise ValueError(
                f"in_index must name one map for each of in_channels={tuple(in_channels)}, "
                f"got {in_index!r}"
            )
        if kernel_size not in KERNEL_SIZES:
            raise ValueError(f"kernel_size must be 1 or 3, got {kernel_size!r}")
        require_plain(kwargs, "conv_cfg")
        super().__init__(
            in_channels=in_channels,
            in_index=tuple(range(len(in_channels))) if in_index is None else in_index,
            channels=sum(in_channels) if channels is None else channels,
            input_transform="resize_concat",
            num_convs=1,
            kernel_size=kernel_size,
            concat_input=False,
            dropout_ratio=dropout_ratio,
            **kwargs,
        )
        self.stream_channels = tuple(in_channels)

    def _forward_feature(self, inputs: Sequence[Tensor]) -> Tensor:
        streams = select_streams(inputs, self.in_index, self.stream_channels, self)
        return convolve_concat(self.convs[0], streams, self.align_corners)
