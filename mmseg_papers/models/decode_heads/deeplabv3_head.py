"""Decode heads of DeepLabV3 and DeepLabV3+."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..layers import ASPP, DeepLabV3PlusDecoder, InitialisedLast, require_plain, select_map
from .one_map_head import OneMapHead

#: Where the weights of ``mmseg``'s heads are here.
MMSEG_PREFIXES = {
    "image_pool.": "aspp.image_pool.",
    "aspp_modules.": "aspp.aspp_modules.",
    "bottleneck.": "aspp.bottleneck.",
    "c1_bottleneck.": "decoder.c1_bottleneck.",
    "sep_bottleneck.": "decoder.convs.",
}


@MODELS.register_module()
class DeepLabV3Head(InitialisedLast, OneMapHead):
    """DeepLabV3's head: atrous spatial pyramid pooling and a classifier (arXiv:1706.05587).

    Unlike ``mmseg``'s ``ASPPHead`` the projection is 1x1 (option ``bottleneck_kernel``), dropout
    acts on single values of its output, and the image-level branch is not expanded. Files of
    ``mmseg``'s ``ASPPHead`` load, with ``bottleneck_kernel=3`` and their ``channels``.

    Args:
        in_channels (int | Sequence[int]): Channels of the backbone's map, or of each map with
            ``input_transform='resize_concat'``. Default: 2048.
        channels (int): Channels of every branch and of the projection. Default: 256.
        rates (Sequence[int]): Rates at output stride 16. Default: (6, 12, 18).
        output_stride (int): Of the backbone. Default: 16.
        separable (bool): Whether 3x3 convs are depthwise separable. Default: False.
        with_image_pool (bool): Whether there is an image-level branch. Default: True.
        bottleneck_kernel (int): Kernel of the projection, 1 or 3. Default: 1.
        dropout_ratio (float): Dropout after the projection. Default: 0.1.
        num_convs (int): 3x3 convs between projection and classifier; the paper has none,
            torchvision and ports of it one. Default: 0.
        align_corners (bool): For all resizing; the authors' True. Default: True.
        **kwargs: As ``mmseg``'s ``BaseDecodeHead``: ``num_classes``, ``in_index``, ``norm_cfg``,
            ``loss_decode`` and so on.

    Raises:
        ValueError: As :class:`mmseg_papers.models.layers.ASPP`, or if ``num_convs`` is negative,
            ``conv_cfg`` asks for another kind of convolution, or ``in_channels``, ``in_index`` and
            ``input_transform`` do not fit each other.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int] = 2048,
        channels: int = 256,
        *,
        rates: Sequence[int] = (6, 12, 18),
        output_stride: int = 16,
        separable: bool = False,
        with_image_pool: bool = True,
        bottleneck_kernel: int = 1,
        dropout_ratio: float = 0.1,
        num_convs: int = 0,
        align_corners: bool = True,
        **kwargs,
    ) -> None:
        require_plain(kwargs, "conv_cfg")
        if bottleneck_kernel is None:
            raise ValueError("bottleneck_kernel must be 1 or 3, got None")
        if num_convs < 0:
            raise ValueError(f"num_convs must be at least 0, got {num_convs}")
        super().__init__(
            in_channels=in_channels,
            channels=channels,
            dropout_ratio=0,
            align_corners=align_corners,
            **kwargs,
        )
        self.aspp = ASPP(
            self.in_channels,
            channels,
            rates,
            output_stride,
            separable=separable,
            with_image_pool=with_image_pool,
            bottleneck_kernel=bottleneck_kernel,
            dropout_ratio=dropout_ratio,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )
        cfgs = dict(norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        self.convs = nn.Sequential(
            *(ConvModule(channels, channels, 3, padding=1, **cfgs) for _ in range(num_convs))
        )

    def _forward_feature(self, inputs: Sequence[Tensor]) -> Tensor:
        x = self._transform_inputs(inputs)
        return self.convs(self.aspp(x))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Classify.

        Args:
            inputs (Sequence[Tensor]): The backbone's maps.

        Returns:
            Tensor: Logits, (N, num_classes, h, w), at the size of the map ``in_index``, or of
            the first.
        """
        return self.cls_seg(self._forward_feature(inputs))

    def rename_keys(self, state_dict: dict[str, Tensor], prefix: str) -> None:
        """Give weights of ``mmseg``'s ASPP heads the names of these modules, in place.

        Args:
            state_dict (dict[str, Tensor]): Of a model.
            prefix (str): What names of this head's begin with.
        """
        for theirs, ours in MMSEG_PREFIXES.items():
            theirs = prefix + theirs
            for key in [key for key in state_dict if key.startswith(theirs)]:
                state_dict[prefix + ours + key[len(theirs) :]] = state_dict.pop(key)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        self.rename_keys(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


@MODELS.register_module()
class DeepLabV3PlusHead(DeepLabV3Head):
    """DeepLabV3+'s head: DeepLabV3's pyramid and a decoder (arXiv:1802.02611).

    ``separable=True`` is the authors' Xception model, ``False`` their ResNet-101 rows; for the best
    Cityscapes rows ``with_image_pool=False`` too. Files of ``mmseg``'s
    ``DepthwiseSeparableASPPHead`` load, with ``bottleneck_kernel=3`` and their ``channels``.

    Args:
        *args: As :class:`DeepLabV3Head`.
        c1_in_channels (int): Channels of the low-level map. Default: 256.
        c1_channels (int): Channels that it is reduced to. Default: 48.
        c1_index (int): Which of the backbone's maps it is. Default: 0.
        num_convs (int): 3x3 convs of the decoder. Default: 2.
        separable (bool): Whether 3x3 convs of pyramid and decoder are depthwise separable.
            Default: True.
        decoder_separable (bool, optional): Whether those of the decoder are, where it differs
            (``decoder_use_separable_conv`` of the authors). Default: as ``separable``.
        decoder_dropout_ratios (Sequence[float], optional): Dropout after each conv of the decoder.
            Default: none.
        **kwargs: As :class:`DeepLabV3Head`.

    Raises:
        ValueError: As :class:`DeepLabV3Head` and
            :class:`mmseg_papers.models.layers.DeepLabV3PlusDecoder`.
    """

    def __init__(
        self,
        *args,
        c1_in_channels: int = 256,
        c1_channels: int = 48,
        c1_index: int = 0,
        num_convs: int = 2,
        separable: bool = True,
        decoder_separable: bool | None = None,
        decoder_dropout_ratios: Sequence[float] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, separable=separable, **kwargs)
        self.c1_in_channels = c1_in_channels
        self.c1_index = c1_index
        self.decoder = DeepLabV3PlusDecoder(
            self.channels,
            c1_in_channels,
            c1_channels,
            (self.channels,) * num_convs,
            separable=separable if decoder_separable is None else decoder_separable,
            dropout_ratios=decoder_dropout_ratios,
            align_corners=self.align_corners,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )

    def _forward_feature(self, inputs: Sequence[Tensor]) -> Tensor:
        low_level = select_map(inputs, self.c1_index, self.c1_in_channels, self, "c1_")
        return self.decoder(super()._forward_feature(inputs), low_level)
