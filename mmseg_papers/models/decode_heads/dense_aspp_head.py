"""Densely connected atrous pyramid."""

from __future__ import annotations

from collections.abc import Sequence

from mmseg.registry import MODELS
from torch import Tensor, nn

from ..layers import DenseBlock, DenseLayer, require_plain, warn_of_dead_rates
from .one_map_head import OneMapHead, stream_channels


@MODELS.register_module()
class DenseASPPHead(OneMapHead):
    """Densely connected atrous spatial pyramid (DenseASPP, CVPR 2018, section 3).

    f = relu(backbone map); then for each rate d: y_d = conv_d(z), z = [y_d, z], newest in front;
    conv_d is BN - ReLU - 1x1 conv - BN - ReLU - 3x3 conv of rate d - channel dropout, without the
    first BN for the smallest rate. The classifier reads all of z. With rates 3, 6, 12, 18, 24 the
    31 paths have 21 receptive fields from 7 to 127 cells.

    Where the paper and the authors' code disagree we follow the code, which made the published
    weights: widths are options (the paper has in_channels / 2 and in_channels / 8), the convs have
    biases, and every layer and the classifier see the rectified map, since the code's first ReLU is
    in place.

    Args:
        in_channels (int | Sequence[int]): Channels of the backbone's map, or of each map with
            ``input_transform='resize_concat'``.
        bottleneck_channels (int): Between the two convs of a pyramid layer.
        growth_channels (int): Channels that each pyramid layer makes.
        dilations (Sequence[int]): Rates of the 3x3 convs. Default: (3, 6, 12, 18, 24).
        rectify_input (bool): Whether f is the rectified map. With False it is the map itself, as
            in the paper's text, and only the first layer begins with a ReLU of it. Default: True.
        pyramid_dropout_ratio (float): Dropout of whole channels after each pyramid layer.
            Default: 0.1.
        dropout_ratio (float): Before the classifier. Default: 0.1.
        align_corners (bool): Of the logits' resizing. The authors' weights were made for True.
            Default: True.
        norm_cfg (dict): The authors' BN has a momentum of 0.0003. Default: ``dict(type='BN')``.
        init_cfg (dict, optional): Default: Kaiming's uniform for all convs.
        **kwargs: As ``mmseg``'s ``BaseDecodeHead``, except ``channels``.

    Raises:
        ValueError: If ``dilations`` is empty, a rate or width is below 1, or ``in_channels``,
            ``in_index`` and ``input_transform`` do not fit each other.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        bottleneck_channels: int,
        growth_channels: int,
        dilations: Sequence[int] = (3, 6, 12, 18, 24),
        *,
        rectify_input: bool = True,
        pyramid_dropout_ratio: float = 0.1,
        align_corners: bool = True,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        for option, values in (
            ("bottleneck_channels", [bottleneck_channels]),
            ("growth_channels", [growth_channels]),
            ("dilations", dilations),
        ):
            if not values or min(values) < 1:
                raise ValueError(f"{option} must be at least 1, got {values}")
        norm_cfg = norm_cfg or dict(type="BN")
        require_plain(kwargs, "conv_cfg", "act_cfg")
        map_channels = sum(stream_channels(in_channels, **kwargs))
        super().__init__(
            in_channels=in_channels,
            channels=map_channels + len(dilations) * growth_channels,
            norm_cfg=norm_cfg,
            align_corners=align_corners,
            init_cfg=init_cfg,
            **kwargs,
        )
        self.dilations = tuple(dilations)
        self.aspp = DenseBlock(
            *(
                DenseLayer(
                    map_channels + i * growth_channels,
                    bottleneck_channels,
                    growth_channels,
                    dilation=dilation,
                    bias=True,
                    pre_norm=i > 0,
                    dropout_ratio=pyramid_dropout_ratio,
                    norm_cfg=norm_cfg,
                )
                for i, dilation in enumerate(self.dilations)
            ),
            newest_first=True,
            relu=rectify_input,
        )
        nn.init.kaiming_uniform_(self.conv_seg.weight)

    def _forward_feature(self, inputs: Sequence[Tensor]) -> Tensor:
        """What the classifier reads: the pyramid's maps, newest first, and the backbone's."""
        x = self._transform_inputs(inputs)
        if self.training:
            warn_of_dead_rates(x, self.dilations)
        return self.aspp(x)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Logits at the backbone map's size.

        Args:
            inputs (Sequence[Tensor]): The backbone's maps, of which ``in_index`` is read.

        Returns:
            Tensor: (N, num_classes, h, w).
        """
        return self.cls_seg(self._forward_feature(inputs))
