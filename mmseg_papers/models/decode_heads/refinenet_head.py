"""Decoders of RefineNet and Light-Weight RefineNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from ...ops.precision import accumulation_dtype
from ..layers import FeaturePath, RefineBlock, ResidualConvUnit, require_plain, select_streams
from .low_resolution_loss import LowResolutionLoss

#: cascade -> the block that each level of a ResNet enters, finest level first, blocks numbered as
#: in the paper: RefineNet-1 is the finest and runs last (figure 7; the levels of "2-cascaded" are
#: unconfirmed)
CASCADES: dict[str, tuple[int, ...]] = {
    "single": (1, 1, 1, 1),
    "2-cascaded": (1, 1, 2, 2),
    "4-cascaded": (1, 2, 3, 4),
}
#: What is resized for the loss of :class:`RefineNetHead`.
LOSS_RESIZES = ("labels", "scores", "probabilities")


class BaseRefineNetHead(BaseDecodeHead):
    """The cascade that the heads of this file share.

    Args:
        in_channels (Sequence[int]): Channels of the levels, finest first.
        channels (Sequence[int]): Width of each level's path.
        cascade (str | Sequence[int]): A key of :data:`CASCADES`, or the block of each level.
        num_scales (int): How many such pyramids the backbone gives, one after the other.
        in_index (Sequence[int], optional): Which maps of the backbone. Default: all, in order.
        dropout_ratio (float): Elementwise dropout on the two coarsest levels.
        classifier_dropout (bool): Whether the classifier has it, too.
        path_fusion (bool): Whether a path has a fusion conv where its block has several inputs.
        num_input_units (int): RCUs of a path.
        num_final_units (int): RCUs before the classifier.
        kernel_size (int): Of the convs outside the RCUs and the classifier.
        block (dict): More arguments of :class:`RefineBlock`.
        **kwargs: As ``mmseg``'s ``BaseDecodeHead``; ``norm_cfg`` changes nothing, as no layer has a
            norm.

    Raises:
        ValueError: If the number of levels does not fit the cascade, ``cascade`` does not number
            its blocks in order, or ``conv_cfg`` or ``act_cfg`` asks for other layers.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: Sequence[int],
        *,
        cascade: str | Sequence[int],
        num_scales: int,
        in_index: Sequence[int] | None,
        dropout_ratio: float,
        classifier_dropout: bool,
        path_fusion: bool,
        num_input_units: int,
        num_final_units: int,
        kernel_size: int,
        block: dict,
        **kwargs,
    ) -> None:
        levels = _check_cascade(cascade, in_channels, channels)
        entered = levels * num_scales  # the block of each map
        is_list = isinstance(in_index, (list, tuple))
        if in_index is not None and not (is_list and len(in_index) == len(entered)):
            raise ValueError(
                f"in_index must name {len(levels)} levels for each of num_scales={num_scales}, "
                f"got {in_index!r}"
            )
        # A block is as wide as the narrowest of what enters it.
        last = max(levels)
        widths: dict[int, int] = {}
        for number in range(last, 0, -1):
            entering = [c for c, b in zip(channels, levels, strict=True) if b == number]
            widths[number] = min([*entering, widths.get(number + 1, entering[0])])
        require_plain(kwargs, "conv_cfg", "act_cfg")
        super().__init__(
            in_channels=list(in_channels) * num_scales,
            in_index=list(range(len(entered))) if in_index is None else list(in_index),
            channels=widths[1],
            input_transform="multiple_select",
            dropout_ratio=dropout_ratio if classifier_dropout else 0,
            **kwargs,
        )
        self.entered = entered
        self.num_scales = num_scales
        has_one_input = entered.count(last) == 1  # of the first block to run
        self.paths = nn.ModuleList(
            FeaturePath(
                c_in,
                c,
                widths[number] if path_fusion and not (has_one_input and number == last) else None,
                num_input_units,
                kernel_size,
            )
            for c_in, c, number in zip(
                self.in_channels, list(channels) * num_scales, entered, strict=True
            )
        )
        self.blocks = nn.ModuleList(
            RefineBlock(widths[number], widths.get(number - 1), kernel_size=kernel_size, **block)
            for number in range(1, last + 1)
        )
        self.final_units = nn.Sequential(
            *(ResidualConvUnit(self.channels) for _ in range(num_final_units))
        )
        self.conv_seg = nn.Conv2d(self.channels, self.out_channels, 3, padding=1)
        # mmseg's drops whole channels; the originals drop single values.
        self.dropout = nn.Dropout(self.dropout_ratio) if self.dropout_ratio > 0 else None
        self.path_dropout = nn.Dropout(dropout_ratio)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Class scores.

        Args:
            inputs (Sequence[Tensor]): The backbone's maps, (N, C_r, H_r, W_r).

        Returns:
            Tensor: (N, out_channels, H, W) at the finest level's size.

        Raises:
            ValueError: If number, channels or order of the maps do not fit the head.
        """
        maps = self._check_maps(inputs)
        levels = len(maps) // self.num_scales
        y = None
        for number in range(len(self.blocks), 0, -1):
            entering = [] if y is None else [y]
            for i, (path, x) in enumerate(zip(self.paths, maps, strict=True)):
                if self.entered[i] == number:
                    entering.append(path(self.path_dropout(x) if i % levels >= levels - 2 else x))
            y = self.blocks[number - 1](entering)
        return self.cls_seg(self.final_units(y))

    def _check_maps(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        maps = select_streams(inputs, self.in_index, self.in_channels, self)
        levels = len(maps) // self.num_scales
        sizes = [tuple(x.shape[2:]) for x in maps]
        grows = any(
            sizes[i][0] > sizes[i - 1][0] or sizes[i][1] > sizes[i - 1][1]
            for i in range(len(maps))
            if i % levels
        )
        if grows:
            raise ValueError(
                "decode_head.in_index must name the finest level first, but the backbone's maps "
                f"{tuple(self.in_index)} have sizes {', '.join(f'{h}x{w}' for h, w in sizes)}"
            )
        return maps


def _check_cascade(
    cascade: str | Sequence[int], in_channels: Sequence[int], channels: Sequence[int]
) -> tuple[int, ...]:
    """The block of each level."""
    if not isinstance(cascade, (list, tuple)):
        if cascade not in CASCADES:
            raise ValueError(
                f"cascade must be one of {', '.join(CASCADES)} or the block of each level, "
                f"got {cascade!r}"
            )
        cascade = CASCADES[cascade]
    levels = tuple(cascade)
    if list(levels) != sorted(levels) or set(levels) != set(range(1, max(levels, default=0) + 1)):
        raise ValueError(
            "cascade must number the blocks 1, 2, .. without gaps, finest level first, "
            f"got {levels}"
        )
    for option, values in (("in_channels", in_channels), ("channels", channels)):
        if not isinstance(values, (list, tuple)) or len(values) != len(levels):
            raise ValueError(
                f"{option} must have one value for each of the {len(levels)} levels of "
                f"cascade={levels}, got {values}"
            )
    return levels


@MODELS.register_module()
class RefineNetHead(LowResolutionLoss, BaseRefineNetHead):
    """RefineNet (arXiv:1611.06612, CVPR 2017): multi-path refinement of a plain ResNet's levels.

    From the coarsest level on, each block adapts what enters by residual conv units (RCU), fuses it
    with the previous block's result, widens the context by chained residual pooling and refines the
    result. No norm layers. Classifier: 3x3.

    The loss is the authors' (``cnn_layer_dense_softmaxloss_forward.m``): cross entropy at the
    resolution of the scores with labels sampled down by nearest pixel centre, a sixteenth of the
    cost of resizing the scores; give ``loss_decode`` ``avg_non_ignore=True`` for their mean.

    Where paper and code disagree the defaults are the code's, of which the published numbers come:
    3 output RCUs a block (paper: 1, and 2 before the classifier: ``num_output_units=1,
    num_final_units=2``), 4 pooling stages (paper: 2) and the loss (paper: of enlarged
    probabilities, ``loss_resize='probabilities'``). Resizing is bilinear as in the paper, with
    ``align_corners=True`` as in the PyTorch port; the authors' MATLAB code resizes by bicubic
    (``fusion_mode='bicubic'``).

    Args:
        in_channels (Sequence[int]): Channels of the levels, finest first.
            Default: (256, 512, 1024, 2048).
        channels (Sequence[int]): Width of each level's path. Default: (256, 256, 256, 512).
        cascade (str | Sequence[int]): ``'single'``, ``'2-cascaded'`` or ``'4-cascaded'``, or the
            block that each level enters, numbered from 1, the last to run. Default:
            ``'4-cascaded'``.
        num_scales (int): Pyramids of levels that the backbone gives, one after the other: 2 with
            ``MultiScaleBackbone`` (figure 7 (d)). Default: 1.
        num_input_units (int): RCUs of each path. Default: 2.
        num_output_units (int): RCUs after each pooling. Default: 3.
        num_final_units (int): RCUs before the classifier. Default: 0.
        num_pool_stages (int): Stages of the chained residual pooling. Default: 4.
        pool_first (bool): Pooling before the conv; False is the improved residual pooling of the
            journal version (TPAMI 42(5)). Default: True.
        fusion_mode (str): ``'bilinear'`` or ``'bicubic'``. Default: ``'bilinear'``.
        fusion_align_corners (bool): For bilinear fusion. Default: True.
        loss_resize (str): What the loss resizes: ``'labels'`` to the scores' size, or ``'scores'``
            (as ``mmseg``, not fused) or their soft-max, ``'probabilities'``, to the labels' size,
            both by ``align_corners``. A probability below 1e-38 has no gradient.
            Default: ``'labels'``.
        dropout_ratio (float): Elementwise dropout on the two coarsest levels as decoder inputs and
            before the classifier. Default: 0.5.
        in_index (Sequence[int], optional): Which maps of the backbone. Default: all, in order.
        init_cfg (dict, optional): Default: N(0, 0.01) for all convs, as the authors'.
        **kwargs: As :class:`BaseRefineNetHead`: ``num_classes``, ``loss_decode``,
            ``align_corners`` (not of the fusions) and so on.

    Raises:
        ValueError: If an option has a value outside the ones above, or the number of levels does
            not fit the cascade.
    """

    label_mode = "nearest-exact"

    def __init__(
        self,
        in_channels: Sequence[int] = (256, 512, 1024, 2048),
        channels: Sequence[int] = (256, 256, 256, 512),
        *,
        cascade: str | Sequence[int] = "4-cascaded",
        num_scales: int = 1,
        num_input_units: int = 2,
        num_output_units: int = 3,
        num_final_units: int = 0,
        num_pool_stages: int = 4,
        pool_first: bool = True,
        fusion_mode: str = "bilinear",
        fusion_align_corners: bool = True,
        loss_resize: str = "labels",
        dropout_ratio: float = 0.5,
        in_index: Sequence[int] | None = None,
        init_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        counts = dict(
            num_scales=num_scales,
            num_input_units=num_input_units,
            num_output_units=num_output_units,
            num_final_units=num_final_units,
            num_pool_stages=num_pool_stages,
        )
        for option, count in counts.items():
            least = 1 if option == "num_scales" else 0
            if count < least:
                raise ValueError(f"{option} must be at least {least}, got {count}")
        if loss_resize not in LOSS_RESIZES:
            raise ValueError(
                f"loss_resize must be one of {', '.join(LOSS_RESIZES)}, got {loss_resize!r}"
            )
        super().__init__(
            in_channels,
            channels,
            cascade=cascade,
            num_scales=num_scales,
            in_index=in_index,
            dropout_ratio=dropout_ratio,
            classifier_dropout=True,
            path_fusion=True,
            num_input_units=num_input_units,
            num_final_units=num_final_units,
            kernel_size=3,
            block=dict(
                num_units=num_output_units,
                num_pool_stages=num_pool_stages,
                pool_first=pool_first,
                fusion_mode=fusion_mode,
                align_corners=fusion_align_corners,
            ),
            init_cfg=init_cfg or dict(type="Normal", std=0.01, layer="Conv2d"),
            **kwargs,
        )
        self.loss_resize = loss_resize
        losses = self.loss_decode
        losses = losses if isinstance(losses, nn.ModuleList) else [losses]
        has_sigmoid = self.out_channels == 1 or any(getattr(x, "use_sigmoid", 0) for x in losses)
        if loss_resize == "probabilities" and has_sigmoid:
            raise ValueError(
                "loss_resize='probabilities' resizes a soft-max and needs at least two "
                "out_channels and a loss_decode without use_sigmoid, got "
                f"out_channels={self.out_channels} and {type(losses[0]).__name__}"
            )

    def loss_by_feat(
        self, seg_logits: Tensor, batch_data_samples: list[SegDataSample]
    ) -> dict[str, Tensor]:
        """As :class:`LowResolutionLoss` has it, of what ``loss_resize`` says."""
        if self.loss_resize == "labels":
            return super().loss_by_feat(seg_logits, batch_data_samples)
        if self.loss_resize == "probabilities":
            size = batch_data_samples[0].gt_sem_seg.shape
            probabilities = seg_logits.softmax(dim=1, dtype=accumulation_dtype(seg_logits))
            enlarged = F.interpolate(
                probabilities, size, mode="bilinear", align_corners=self.align_corners
            )
            # Their soft-max is what was enlarged, since it adds up to 1.
            seg_logits = enlarged.clamp(min=torch.finfo(enlarged.dtype).tiny).log()
        return BaseRefineNetHead.loss_by_feat(self, seg_logits, batch_data_samples)


@MODELS.register_module()
class LightWeightRefineNetHead(BaseRefineNetHead):
    """Light-Weight RefineNet (arXiv:1810.03272, BMVC 2018): no RCUs, 1x1 convs, 3x3 classifier.

    The two 1x1 convs in a row of every finer path run as one
    (:func:`mmseg_papers.ops.conv1x1_pair`). On MobileNetV2 the authors' decoder has ReLU6, one conv
    a path and no dropout: ``path_fusion=False, relu6=True, dropout_ratio=0``.

    Args:
        in_channels (Sequence[int]): Channels of the levels, finest first.
            Default: (256, 512, 1024, 2048).
        channels (Sequence[int]): Width of each level's path. Default: (256, 256, 256, 512).
        cascade (str | Sequence[int]): As for :class:`RefineNetHead`. Default: ``'4-cascaded'``.
        path_fusion (bool): Whether a path has its second conv. Default: True.
        relu6 (bool): ReLU6 for ReLU. Default: False.
        dropout_ratio (float): Elementwise dropout on the two coarsest levels; the classifier has
            none. Default: 0.5.
        in_index (Sequence[int], optional): Which maps of the backbone. Default: all, in order.
        init_cfg (dict, optional): Default: PyTorch's initialisation, as in the authors' code.
        **kwargs: As ``mmseg``'s ``BaseDecodeHead``; ``norm_cfg`` changes nothing, as no layer has a
            norm.

    Raises:
        ValueError: If an option has a value outside the ones above, or the number of levels does
            not fit the cascade.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (256, 512, 1024, 2048),
        channels: Sequence[int] = (256, 256, 256, 512),
        *,
        cascade: str | Sequence[int] = "4-cascaded",
        path_fusion: bool = True,
        relu6: bool = False,
        dropout_ratio: float = 0.5,
        in_index: Sequence[int] | None = None,
        init_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(
            in_channels,
            channels,
            cascade=cascade,
            num_scales=1,
            in_index=in_index,
            dropout_ratio=dropout_ratio,
            classifier_dropout=False,
            path_fusion=path_fusion,
            num_input_units=0,
            num_final_units=0,
            kernel_size=1,
            block=dict(num_units=0, relu6=relu6),
            init_cfg=init_cfg,
            **kwargs,
        )
