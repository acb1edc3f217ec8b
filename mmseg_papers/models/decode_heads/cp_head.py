"""Head of CPNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ...ops import context_prior, context_prior_and_sums, gather_context
from ...ops.batch_norm import NormState, is_batch_norm, sync_group, update_running_statistics
from ...ops.export import is_exporting
from ...ops.plain_layers import is_hooked, is_plain_conv
from ..layers import AggregationModule, InitialisedLast, build_aggregation, require_plain
from ..losses import AffinityLoss, label_of_positions
from .one_map_head import OneMapHead

#: Of the same class and of the others, in the order of the bottleneck's channels.
CONTEXTS = ("intra", "inter")
#: What happens to a map of another size than the prior's.
SIZE_POLICIES = ("refuse", "resample")
#: Values of the prior that a resampled one holds at a time.
VALUES_AT_A_TIME = 1 << 24


@MODELS.register_module()
class CPHead(InitialisedLast, OneMapHead):
    """Context prior head (arXiv:2004.01547, the context prior layer).

    Aggregated features V predict, for every position, which of all N positions are of its class:
    the context prior P, one channel of a 1x1 convolution for each position. P gathers the context
    of the same class, P V / N, and 1 - P that of the others, of which the second is the mean of V
    minus the first. Both join the backbone's map. P itself is supervised by
    :class:`mmseg_papers.models.losses.AffinityLoss`.

    In evaluation P is streamed (:func:`mmseg_papers.ops.context_prior`) and no N x N map exists.

    Because a channel stands for an absolute position, the head fits one size of feature map;
    ``size_policy='resample'`` takes others in evaluation, which is an approximation of ours.

    Where paper and code differ the defaults are the code's: contexts are divided by N, and a 1x1
    convolution with BN and ReLU follows each; ``mean_context=False, context_convs=False`` is the
    paper's text. Unlike the authors', :meth:`forward` returns the class scores only;
    :meth:`forward_with_prior` returns P, too.

    Args:
        in_channels (int | Sequence[int]): Channels of the backbone's map, or of each map with
            ``input_transform='resize_concat'``.
        channels (int): Channels before the classifier. Default: 512.
        prior_channels (int): Channels of V. Default: 512.
        prior_size (int | tuple[int, int]): Height and width of the map: the crop's divided by the
            backbone's stride, rounded up.
        am_kernel_size (int): Kernel size of the default aggregation, odd. Default: 11.
        aggregation (dict, optional): Another layer that makes V, as in the paper's ablation:
            ``dict(type='mmseg_papers.models.layers.ASPP', output_stride=8)``,
            ``dict(type='mmseg_papers.models.layers.PyramidPooling')`` or any that takes
            ``in_channels``, ``out_channels`` or ``channels``, and ``norm_cfg``. Default: None,
            :class:`mmseg_papers.models.layers.AggregationModule`.
        groups (int): Groups of the prior's convolution. Default: 1.
        mean_context (bool): Whether contexts are means over the positions, not sums. Default: True.
        context_convs (bool): Whether a 1x1 convolution follows each context. Default: True.
        contexts (Sequence[str]): Which join the backbone's map: ``('intra', 'inter')``, that of the
            same class and that of the others; ``('intra',)`` or ``('inter',)`` is the paper's
            ablation. Default: both.
        output_stride (int): The backbone's; it serves to name the crop in error messages.
            Default: 8.
        size_policy (str): ``'refuse'`` maps of another size or, in evaluation, ``'resample'``: V
            is resized to the prior's size to be gathered, and every position of the map asks for
            its context. Neither in the paper nor in its code. Default: 'refuse'.
        stream_training (bool): Never hold an N x N map in training either, at about the same time
            (:func:`mmseg_papers.ops.context_prior_and_sums`), unless the prior's layers have hooks.
            Default: False.
        loss_prior_decode (dict): Of the prior. Default: ``dict(type='AffinityLoss')``.
        **kwargs: As ``mmseg``'s ``BaseDecodeHead``: ``num_classes``, ``in_index``, ``norm_cfg``,
            ``dropout_ratio``, ``loss_decode``, ``sampler`` and so on.

    Raises:
        ValueError: If ``prior_size``, ``groups``, ``am_kernel_size``, ``aggregation``,
            ``contexts``, ``size_policy``, ``norm_cfg`` or ``input_transform`` are not as described,
            ``conv_cfg`` or ``act_cfg`` asks for other layers, or ``stream_training`` meets a norm
            other than batch normalisation or a loss other than ``AffinityLoss``.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        channels: int = 512,
        *,
        prior_size: int | tuple[int, int],
        prior_channels: int = 512,
        am_kernel_size: int = 11,
        aggregation: dict | None = None,
        groups: int = 1,
        mean_context: bool = True,
        context_convs: bool = True,
        contexts: Sequence[str] = CONTEXTS,
        output_stride: int = 8,
        size_policy: str = "refuse",
        stream_training: bool = False,
        loss_prior_decode: dict = dict(type="AffinityLoss"),  # noqa: B006  (never changed)
        **kwargs,
    ) -> None:
        require_plain(kwargs, "conv_cfg", "act_cfg")
        super().__init__(in_channels, channels, **kwargs)
        contexts = tuple(contexts) if isinstance(contexts, list) else contexts
        is_sequence = isinstance(prior_size, (tuple, list))
        size = tuple(prior_size) if is_sequence else (prior_size, prior_size)
        if len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
            raise ValueError(
                f"prior_size must be one or two positive ints, the height and width of the "
                f"backbone's map, got {prior_size!r}"
            )
        positions = size[0] * size[1]
        if min(groups, prior_channels) < 1 or prior_channels % groups or positions % groups:
            raise ValueError(
                f"groups must divide prior_channels={prior_channels} and the {positions} positions "
                f"of prior_size={size}, got {groups}"
            )
        if contexts not in (("intra",), ("inter",), CONTEXTS):
            raise ValueError(f"contexts must be ('intra',), ('inter',) or both, got {contexts!r}")
        if self.norm_cfg is None:
            raise ValueError("norm_cfg must name a norm layer such as dict(type='BN'), got None")
        if size_policy not in SIZE_POLICIES:
            raise ValueError(
                f"size_policy must be one of {', '.join(SIZE_POLICIES)}, got {size_policy!r}"
            )
        self.prior_size = size
        self.size_policy = size_policy
        self.contexts = contexts
        self.mean_context = mean_context
        self.output_stride = output_stride
        self.stream_training = stream_training
        if aggregation is None:
            aggregation = dict(type=AggregationModule, kernel_size=am_kernel_size)
        self.aggregation = build_aggregation(
            aggregation, self.in_channels, prior_channels, self.norm_cfg
        )
        norm = dict(norm_cfg=self.norm_cfg)
        self.prior_conv = ConvModule(
            prior_channels, positions, 1, groups=groups, act_cfg=None, **norm
        )
        for name in self.contexts:
            conv = nn.Identity()
            if context_convs:
                conv = ConvModule(prior_channels, prior_channels, 1, **norm)
            self.add_module(f"{name}_conv", conv)
        self.bottleneck = ConvModule(
            self.in_channels + len(self.contexts) * prior_channels, channels, 3, padding=1, **norm
        )
        self.loss_prior_decode = MODELS.build(loss_prior_decode)
        if stream_training:
            loss = type(self.loss_prior_decode).__name__
            if not isinstance(self.loss_prior_decode, AffinityLoss):
                raise ValueError(
                    f"loss_prior_decode must be AffinityLoss with stream_training=True, got {loss}"
                )
            if not self._can_stream:
                raise ValueError(
                    "norm_cfg must be affine batch normalisation (BN, SyncBN) with running "
                    f"statistics with stream_training=True, got {self.norm_cfg}"
                )

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Class scores.

        Args:
            inputs (tuple[Tensor, ...]): The backbone's maps.

        Returns:
            Tensor: (B, num_classes, h, w) for a map of ``prior_size`` (h, w), or of any where it is
            resampled.

        Raises:
            ValueError: If the map has another size and the prior is not resampled.
        """
        resamples = self.size_policy == "resample" and not self.training
        x, value = self._aggregate(inputs, resamples)
        if value.shape[2:] != self.prior_size:
            return self._classify(x, *self._resampled(value))
        norm = self.prior_conv.norm
        if torch.is_grad_enabled() or norm.training or not self._can_stream:
            context = gather_context(value, self.prior_conv(value))
        else:
            scale, shift = NormState.of(norm).affine(norm.weight, norm.bias)
            conv = self.prior_conv.conv
            context = context_prior(value, conv.weight, scale, shift, conv.groups)
        return self._classify(x, value, context)

    def forward_with_prior(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Class scores and the whole context prior.

        Args:
            inputs (tuple[Tensor, ...]): The backbone's maps.

        Returns:
            tuple[Tensor, Tensor]: Scores (B, num_classes, h, w), and P (B, N, N) by query and key,
            both row-major over ``prior_size``.
        """
        x, value = self._aggregate(inputs)
        logits = self.prior_conv(value)
        scores = self._classify(x, value, gather_context(value, logits))
        return scores, logits.sigmoid().flatten(2).transpose(1, 2)

    def forward_with_losses(
        self, inputs: tuple[Tensor, ...], batch_data_samples: list
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Class scores and the losses that need more than those.

        Args:
            inputs (tuple[Tensor, ...]): The backbone's maps.
            batch_data_samples (list[SegDataSample]): With ``gt_sem_seg`` of one size.

        Returns:
            tuple[Tensor, dict[str, Tensor]]: Scores (B, num_classes, h, w), and the prior's loss
            by its name.
        """
        x, value = self._aggregate(inputs)
        label = label_of_positions(self._stack_batch_gt(batch_data_samples), self.prior_size)
        if self.stream_training and self._can_stream:
            context, loss = self._streamed(value, label)
        else:
            logits = self.prior_conv(value)
            context = gather_context(value, logits)
            loss = self.loss_prior_decode(logits, label)
        return self._classify(x, value, context), {self.loss_prior_decode.loss_name: loss}

    def loss(
        self, inputs: tuple[Tensor, ...], batch_data_samples: list, train_cfg: dict
    ) -> dict[str, Tensor]:
        """Losses of the classes and of the prior.

        Args:
            inputs (tuple[Tensor, ...]): The backbone's maps.
            batch_data_samples (list[SegDataSample]): With ``gt_sem_seg`` of one size.
            train_cfg (dict): Not used.

        Returns:
            dict[str, Tensor]: Losses by name, and ``acc_seg``.
        """
        scores, losses = self.forward_with_losses(inputs, batch_data_samples)
        return {**self.loss_by_feat(scores, batch_data_samples), **losses}

    @property
    def _can_stream(self) -> bool:
        prior = self.prior_conv
        return is_batch_norm(prior.norm) and is_plain_conv(prior.conv) and not is_hooked(prior)

    def _aggregate(
        self, inputs: tuple[Tensor, ...], takes_any_size: bool = False
    ) -> tuple[Tensor, Tensor]:
        x = self._transform_inputs(inputs)
        if x.shape[2:] != self.prior_size and not takes_any_size:
            stride, got = self.output_stride, tuple(x.shape[2:])
            crop = tuple(n * stride for n in self.prior_size)
            raise ValueError(
                f"the backbone's map is {got}, but prior_size={self.prior_size} fits crops of "
                f"{crop} at stride {stride} only. Train with crop_size={crop}, or set "
                "prior_size to the crop's size / stride, rounded up; test with "
                f"test_cfg=dict(mode='slide', crop_size={crop}, stride=..) and, for images smaller "
                f"than that, data_preprocessor=dict(size={crop}, test_cfg=dict(size={crop})), or "
                "approximately with decode_head.size_policy='resample', which is for scores in "
                "evaluation only"
            )
        value = self.aggregation(x)
        channels = self.prior_conv.in_channels
        if value.shape[1] != channels or value.shape[2:] != x.shape[2:]:
            raise ValueError(
                f"aggregation ({type(self.aggregation).__name__}) must keep height and width and "
                f"give prior_channels={channels}, got {tuple(value.shape)} of {tuple(x.shape)}"
            )
        return x, value

    def _resampled(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """V at the prior's size, and the context of every position of a map of another size."""
        keys = F.interpolate(value, self.prior_size, mode="bilinear", align_corners=False)
        parts = [value]
        if self._can_stream and not self.prior_conv.norm.training and not is_exporting():
            of_row = len(value) * self.prior_conv.out_channels * value.shape[3]
            parts = value.split(max(VALUES_AT_A_TIME // of_row, 1), dim=2)
        contexts = [gather_context(keys, self.prior_conv(part)) for part in parts]
        return keys, torch.cat(contexts, dim=2)

    def _classify(self, x: Tensor, value: Tensor, context: Tensor) -> Tensor:
        maps = [x]
        for name in self.contexts:
            y = context if name == "intra" else value.mean((2, 3), keepdim=True) - context
            if not self.mean_context:
                y = y * (self.prior_size[0] * self.prior_size[1])
            maps.append(self.get_submodule(f"{name}_conv")(y))
        return self.cls_seg(self.bottleneck(torch.cat(maps, dim=1)))

    def _streamed(self, value: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        conv, norm, loss = self.prior_conv.conv, self.prior_conv.norm, self.loss_prior_decode
        context, sums, statistics = context_prior_and_sums(
            value,
            conv.weight,
            norm.weight,
            norm.bias,
            label,
            statistics=None if norm.training else (norm.running_mean, norm.running_var),
            eps=norm.eps,
            groups=conv.groups,
            clamped_bce=loss.clamped_bce,
            count_self=loss.count_self,
            process_group=sync_group(norm),
        )
        if norm.training:
            update_running_statistics(norm, *statistics)
        return context, loss.from_sums(sums, label)
