"""SPNet's decode head."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..layers import InitialisedLast, MixedPoolingModule, require_plain, reset_convs
from .one_map_head import OneMapHead, stream_channels


@MODELS.register_module()
class SPHead(InitialisedLast, OneMapHead):
    """Two mixed-pooling modules between a reduction and a classifier (arXiv:2003.13328, section 4).

    conv1x1 to C / 2, two :class:`mmseg_papers.models.layers.MixedPoolingModule`, conv3x3 to
    ``channels``, dropout, classifier; BN and ReLU behind each conv.

    Args:
        in_channels (int | Sequence[int]): C, a multiple of 8, or the channels of each map with
            ``input_transform='resize_concat'``, C together. The authors' is 2048.
        channels (int, optional): Default: C / 4.
        bins (Sequence[int]): Sides of the pooled maps. Default: (20, 12), the authors', at every
            crop size.
        align_corners (bool): Of all resizes. Default: True, the authors'.
        init_cfg (dict | list[dict], optional): Default: convs as PyTorch initialises them, which
            the authors keep.
        **kwargs: As ``mmseg``'s ``BaseDecodeHead``: ``num_classes``, ``norm_cfg`` (default:
            ``dict(type='BN')``), ``in_index``, ``dropout_ratio``, ``loss_decode`` and so on.

    Raises:
        ValueError: If ``in_channels`` is no multiple of 8 or does not fit ``in_index`` and
            ``input_transform``, or ``bins`` are not positive.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        channels: int | None = None,
        *,
        bins: Sequence[int] = (20, 12),
        align_corners: bool = True,
        init_cfg: dict | list[dict] | None = None,
        **kwargs,
    ) -> None:
        map_channels = sum(stream_channels(in_channels, **kwargs))
        if map_channels % 8:
            raise ValueError(f"in_channels must be a multiple of 8, got {map_channels}")
        require_plain(kwargs, "conv_cfg", "act_cfg")
        kwargs["norm_cfg"] = kwargs.get("norm_cfg") or dict(type="BN")
        super().__init__(
            in_channels=in_channels,
            channels=map_channels // 4 if channels is None else channels,
            align_corners=align_corners,
            init_cfg=init_cfg,
            **kwargs,
        )
        width = map_channels // 2
        cfgs = dict(norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        self.reduce = ConvModule(map_channels, width, 1, **cfgs)
        self.mixed_pooling = nn.Sequential(
            *(MixedPoolingModule(width, bins, self.norm_cfg, align_corners) for _ in range(2))
        )
        self.bottleneck = ConvModule(width, self.channels, 3, padding=1, **cfgs)

    def init_weights(self) -> None:
        """Initialise as the authors do, unless ``init_cfg`` says otherwise."""
        is_first = not self.is_init
        super().init_weights()
        if is_first and self.init_cfg is None:
            reset_convs(self)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Classify the pixels of the backbone's map.

        Args:
            inputs (Sequence[Tensor]): Its maps, of which ``in_index`` is (N, C, H, W).

        Returns:
            Tensor: Logits, (N, num_classes, H, W).
        """
        x = self.mixed_pooling(self.reduce(self._transform_inputs(inputs)))
        return self.cls_seg(self.bottleneck(x))
