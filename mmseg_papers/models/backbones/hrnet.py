"""HRNet as published: every variant, exact sizes, all resize modes, fusion ablations."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import build_conv_layer, build_norm_layer
from mmengine.model import Sequential
from mmseg.models.backbones.hrnet import HRModule, HRNet
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...ops import upsample_add
from ..layers import CompleteLoading, build_upsample, check_image_channels, require_layer
from .train_returns_self import TrainReturnsSelf

#: arch -> (width, bottlenecks and planes of stage 1, modules of stages 2-4, basic blocks a branch)
ARCHS: dict[str, tuple[int, tuple[int, int], tuple[int, int, int], int]] = {
    "w18_small_v1": (16, (1, 32), (1, 1, 1), 2),  # its width is 16, not 18
    "w18_small_v2": (18, (2, 64), (1, 3, 2), 2),
    "w18": (18, (4, 64), (1, 4, 3), 4),
    "w32": (32, (4, 64), (1, 4, 3), 4),
    "w40": (40, (4, 64), (1, 4, 3), 4),
    "w44": (44, (4, 64), (1, 4, 3), 4),
    "w48": (48, (4, 64), (1, 4, 3), 4),
    "w64": (64, (4, 64), (1, 4, 3), 4),
}
UPSAMPLE_MODES = ("bilinear", "nearest")
FUSION_SCOPES = ("all", "across", "final")
#: What comes first where a coarse stream joins a fine one.
FUSION_ORDERS = ("conv", "upsample")
#: The streams that a new one is made of.
NEW_STREAM_SOURCES = ("lowest", "all")
STRIDE = 32


def arch_to_extra(arch: str) -> dict[str, dict]:
    """The ``extra`` dict of ``mmseg``'s HRNet for a published variant.

    Args:
        arch (str): A key of :data:`ARCHS`.

    Returns:
        dict[str, dict]: ``stage1`` .. ``stage4``, each with ``num_modules``, ``num_branches``,
        ``block``, ``num_blocks`` and ``num_channels``.

    Raises:
        ValueError: If the variant is unknown.
    """
    if arch not in ARCHS:
        raise ValueError(f"arch must be one of {', '.join(ARCHS)}, got {arch!r}")
    return make_extra(*ARCHS[arch])


def make_extra(
    width: int, bottlenecks: tuple[int, int], modules: Sequence[int], blocks: int
) -> dict[str, dict]:
    """The ``extra`` dict of ``mmseg``'s HRNet for a row of :data:`ARCHS`.

    Args:
        width (int): Channels of the stride-4 stream.
        bottlenecks (tuple[int, int]): Number and planes of those of stage 1.
        modules (Sequence[int]): Modules of stages 2 to 4.
        blocks (int): Basic blocks of a branch in a module.

    Returns:
        dict[str, dict]: As :func:`arch_to_extra`.
    """
    extra = {
        "stage1": dict(
            num_modules=1,
            num_branches=1,
            block="BOTTLENECK",
            num_blocks=bottlenecks[:1],
            num_channels=bottlenecks[1:],
        )
    }
    for stage, num_modules in enumerate(modules, start=2):
        extra[f"stage{stage}"] = dict(
            num_modules=num_modules,
            num_branches=stage,
            block="BASIC",
            num_blocks=(blocks,) * stage,
            num_channels=tuple(width * 2**branch for branch in range(stage)),
        )
    return extra


def _conv_norm(
    in_channels: int, out_channels: int, conv_cfg: dict | None, norm_cfg: dict, **kwargs
) -> nn.Sequential:
    """A convolution without bias and its norm."""
    return nn.Sequential(
        build_conv_layer(conv_cfg, in_channels, out_channels, bias=False, **kwargs),
        build_norm_layer(norm_cfg, out_channels)[1],
    )


def _strided_convs(
    in_channels: int, out_channels: int, steps: int, conv_cfg: dict | None, norm_cfg: dict
) -> nn.Sequential:
    """3x3 convs that halve a stream ``steps`` times; all but the last keep channels, with ReLU."""
    cfgs = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg, kernel_size=3, stride=2, padding=1)
    halvings = [_conv_norm(in_channels, in_channels, **cfgs) for _ in range(steps - 1)]
    for halving in halvings:
        halving.append(nn.ReLU(inplace=True))
    return nn.Sequential(*halvings, _conv_norm(in_channels, out_channels, **cfgs))


class NewStream(nn.Module):
    """A stream made of all finer ones, which is how we read the paper (TPAMI section 3.2).

    Args:
        in_channels (Sequence[int]): Channels of the finer streams, finest first.
        out_channels (int): Its own.
        conv_cfg (dict, optional): Of the convs.
        norm_cfg (dict): Of the norms.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        conv_cfg: dict | None,
        norm_cfg: dict,
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            _strided_convs(channels, out_channels, len(in_channels) - r, conv_cfg, norm_cfg)
            for r, channels in enumerate(in_channels)
        )

    def forward(self, streams: Sequence[Tensor]) -> Tensor:
        """Sum of the streams at half the size of the lowest, with ReLU.

        Args:
            streams (Sequence[Tensor]): (N, C_r, H_r, W_r), H_r = ceil(H_0 / 2^r).

        Returns:
            Tensor: (N, out_channels, h, w).
        """
        maps = [conv(stream) for conv, stream in zip(self.convs, streams, strict=True)]
        return upsample_add(maps, maps[0].shape[2:], relu=True)


class MultiResolutionModule(HRModule):
    """Parallel branches and their exchange (TPAMI section 3.2, "multi-resolution convolution").

    y_i = ReLU(sum_j f_ij(x_j)) with f_ii the identity, f_ij for j > i a 1x1 conv and BN resized to
    the size of stream i, and for j < i strided 3x3 convs. Unlike ``mmseg``'s, a map is resized
    once, straight to the target's size, so that sizes not divisible by 32 match the authors' code.

    Args:
        upsample_mode (str): ``'bilinear'`` or ``'nearest'``.
        align_corners (bool): For bilinear resizing.
        upsample_cfg (dict, optional): As for :class:`HighResolutionNet`.
        fuse (bool): False leaves the exchange out, parameters included (TPAMI table 12).
        upsample_first (bool): Whether a coarse map is resized before its 1x1 conv.
        *args, **kwargs: As ``mmseg.models.backbones.hrnet.HRModule``.
    """

    def __init__(
        self,
        *args,
        upsample_mode: str = "bilinear",
        align_corners: bool = False,
        upsample_cfg: dict | None = None,
        fuse: bool = True,
        upsample_first: bool = False,
        **kwargs,
    ) -> None:
        self.fuse = fuse
        self.upsample_first = upsample_first
        self.upsample_cfg = upsample_cfg
        super().__init__(*args, **kwargs)
        self.upsample_mode = upsample_mode
        self.align_corners = align_corners and upsample_mode == "bilinear"

    def _make_fuse_layers(self) -> nn.ModuleList | None:
        if self.num_branches == 1 or not self.fuse:
            return None
        outputs = self.num_branches if self.multiscale_output else 1
        return nn.ModuleList(
            nn.ModuleList(self._make_exchange(j, i) for j in range(self.num_branches))
            for i in range(outputs)
        )

    def _make_exchange(self, source: int, target: int) -> nn.Sequential | None:
        """Convolutions that take stream ``source`` to the channels of stream ``target``."""
        if source == target:
            return None
        in_channels, out_channels = self.in_channels[source], self.in_channels[target]
        cfgs = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg)
        if source < target:
            return _strided_convs(in_channels, out_channels, target - source, **cfgs)
        exchange = _conv_norm(in_channels, out_channels, kernel_size=1, **cfgs)
        if self.upsample_cfg is not None:
            scale_factor = 2 ** (source - target)
            exchange.append(build_upsample(self.upsample_cfg, out_channels, scale_factor))
        return exchange

    def forward(self, x: Sequence[Tensor]) -> list[Tensor]:
        """Run the branches and fuse them.

        Args:
            x (Sequence[Tensor]): One map a stream, (N, C_r, H_r, W_r), H_r = ceil(H_0 / 2^r).

        Returns:
            list[Tensor]: The fused maps, shapes as the inputs (only the first without
            ``multiscale_output``).
        """
        x = [branch(stream) for branch, stream in zip(self.branches, x, strict=True)]
        if self.fuse_layers is None:
            return x
        return [self._fuse(x, i) for i in range(len(self.fuse_layers))]

    def _fuse(self, x: Sequence[Tensor], i: int) -> Tensor:
        """What stream ``i`` becomes."""
        size = x[i].shape[2:]
        resizing = dict(mode=self.upsample_mode, align_corners=self.align_corners)
        maps = []
        for j, (exchange, x_j) in enumerate(zip(self.fuse_layers[i], x, strict=True)):
            if j > i and self.upsample_first:
                x_j = upsample_add([x_j], size, **resizing)
            maps.append(x_j if exchange is None else exchange(x_j))
        return upsample_add(maps, size, relu=True, **resizing)


@MODELS.register_module()
class HighResolutionNet(CompleteLoading, TrainReturnsSelf, HRNet):
    """HRNet (arXiv:1908.07919, arXiv:1904.04514) as its authors published it.

    A drop-in for ``mmseg``'s ``HRNet`` with the same keys, so ``open-mmlab://msra/hrnetv2_w*`` and
    ``mmseg`` checkpoints load. What differs: sizes not divisible by 32 are resized as in the
    authors' code, the resize mode is an option, a transition whose stream changes width reads that
    stream, weights that do not fit are refused, and ``train()`` returns the module.

    Where the paper and the authors' code disagree the defaults are the code's: 1x1 conv and BN run
    before up-sampling, and a new stream starts from the lowest stream only.

    Args:
        arch (str, optional): A published variant: w18_small_v1, w18_small_v2, w18, w32, w40, w44,
            w48 or w64. Give this or ``extra``.
        extra (dict, optional): The stages as for ``mmseg``'s HRNet.
        upsample_mode (str): Resizing in the fusions: ``'bilinear'`` (segmentation) or
            ``'nearest'`` (detection and pose). Default: ``'bilinear'``.
        align_corners (bool): For bilinear resizing. The authors' OCR, ADE20K and COCO-Stuff
            weights and all of openseg.pytorch need True, all others False. Default: False.
        fusion_scope (str): Which modules exchange information: ``'all'``; ``'across'``, the last of
            each stage; ``'final'``, the last of stage 4 (TPAMI table 12). Default: ``'all'``.
        upsample_cfg (dict, optional): A registered layer that up-samples in the fusions, such as
            ``dict(type='carafe')``; where a size is not divisible, its output is resized to the
            exact one. Default: plain resizing.
        fusion_order (str): What comes first where a coarse stream joins a fine one: ``'conv'``, as
            in the authors' code, or ``'upsample'``, as in the paper. With BN both are the same
            in evaluation; in training it sees other values. Default: ``'conv'``.
        new_stream_from (str): ``'lowest'``: a new stream is made of the lowest one, as in the
            authors' code and weights; ``'all'``: of all streams, as in the paper
            (:class:`NewStream`). Default: ``'lowest'``.
        **kwargs: As ``mmseg``'s HRNet: ``in_channels``, ``norm_cfg``, ``norm_eval``, ``with_cp``,
            ``frozen_stages``, ``multiscale_output``, ``init_cfg`` and so on. ``zero_init_residual``
            changes nothing, as there.

    Raises:
        ValueError: If an option has a value outside the ones above, or not exactly one of ``arch``
            and ``extra`` is given.
        ImportError: If a layer asked for needs mmcv's compiled operations and mmcv has none.

    Example:
        >>> import torch
        >>> from mmseg_papers.models.backbones import HighResolutionNet
        >>> net = HighResolutionNet(arch='w18_small_v1').eval()
        >>> [tuple(y.shape) for y in net(torch.rand(1, 3, 97, 141))]
        [(1, 16, 25, 36), (1, 32, 13, 18), (1, 64, 7, 9), (1, 128, 4, 5)]
    """

    def __init__(
        self,
        arch: str | None = None,
        extra: dict | None = None,
        *,
        upsample_mode: str = "bilinear",
        align_corners: bool = False,
        fusion_scope: str = "all",
        upsample_cfg: dict | None = None,
        fusion_order: str = "conv",
        new_stream_from: str = "lowest",
        **kwargs,
    ) -> None:
        if (arch is None) == (extra is None):
            raise ValueError(
                f"give exactly one of arch and extra, got arch={arch!r} and "
                f"extra={'a dict' if extra else extra}"
            )
        for option, value, allowed in (
            ("upsample_mode", upsample_mode, UPSAMPLE_MODES),
            ("fusion_scope", fusion_scope, FUSION_SCOPES),
            ("fusion_order", fusion_order, FUSION_ORDERS),
            ("new_stream_from", new_stream_from, NEW_STREAM_SOURCES),
        ):
            if value not in allowed:
                raise ValueError(f"{option} must be one of {', '.join(allowed)}, got {value!r}")
        if (frozen := kwargs.get("frozen_stages", -1)) not in range(-1, 5):
            raise ValueError(f"frozen_stages must be -1 to 4, got {frozen!r}")
        if upsample_cfg is not None and fusion_order == "upsample":
            raise ValueError(
                "upsample_cfg works after the convs; it needs fusion_order='conv', got 'upsample'"
            )
        for cfg in (kwargs.get("conv_cfg"), kwargs.get("norm_cfg")):
            require_layer(cfg)
        # HRNet's constructor builds the stages, so what they read is set before it runs.
        self.upsample_mode = upsample_mode
        self.align_corners = align_corners
        self.fusion_scope = fusion_scope
        self.upsample_cfg = upsample_cfg
        self.fusion_order = fusion_order
        self.new_stream_from = new_stream_from
        super().__init__(extra=extra if arch is None else arch_to_extra(arch), **kwargs)

    def _make_transition_layer(self, before: list[int], after: list[int]) -> nn.ModuleList:
        transition = super()._make_transition_layer(before, after)
        if self.new_stream_from == "all" and len(after) > len(before) > 1:
            if len(after) > len(before) + 1:
                raise ValueError(
                    "new_stream_from='all' needs stages that add one stream at a time, but extra "
                    f"has {len(after)} branches after {len(before)}"
                )
            transition[-1] = NewStream(before, after[-1], self.conv_cfg, self.norm_cfg)
        return transition

    def _make_stage(
        self, layer_config: dict, in_channels: list[int], multiscale_output: bool = True
    ) -> tuple[Sequential, list[int]]:
        num_modules = layer_config["num_modules"]
        is_last_stage = layer_config is self.extra["stage4"]
        modules = []
        for i in range(num_modules):
            is_last = i == num_modules - 1
            modules.append(
                MultiResolutionModule(
                    layer_config["num_branches"],
                    self.blocks_dict[layer_config["block"]],
                    layer_config["num_blocks"],
                    in_channels,
                    layer_config["num_channels"],
                    multiscale_output or not is_last,
                    with_cp=self.with_cp,
                    norm_cfg=self.norm_cfg,
                    conv_cfg=self.conv_cfg,
                    upsample_mode=self.upsample_mode,
                    align_corners=self.align_corners,
                    upsample_cfg=self.upsample_cfg,
                    fuse=self.fusion_scope == "all"
                    or (is_last and (is_last_stage or self.fusion_scope == "across")),
                    upsample_first=self.fusion_order == "upsample",
                )
            )
        return Sequential(*modules), in_channels

    def forward(self, x: Tensor) -> list[Tensor]:
        """Extract the maps of all streams.

        Args:
            x (Tensor): Images, (N, in_channels, H, W), of any size (in training at least 32 x 32,
                and more for a batch of one).

        Returns:
            list[Tensor]: Stream r = 0..3, (N, C * 2^r, ceil(H / 2^(r+2)), ceil(W / 2^(r+2))); only
            r = 0 without ``multiscale_output``.

        Raises:
            ValueError: If the images have another number of channels than the network, or are
                smaller than its stride while training.
        """
        check_image_channels(x, self.conv1, self)
        size = x.shape[2:]
        if self.training and min(size) < STRIDE:
            raise ValueError(
                f"training images of {size[0]} x {size[1]} pixels are smaller than the "
                f"network's stride {STRIDE}; use a crop_size of at least {STRIDE} x {STRIDE}"
            )
        if self.training and x.shape[0] == 1 and max(size) <= STRIDE:
            raise ValueError(
                f"one training image of {size[0]} x {size[1]} pixels leaves batch norm a single "
                f"value at stride {STRIDE}; use a larger crop_size or batch_size"
            )
        x = self.relu(self.norm1(self.conv1(x)))
        x = self.relu(self.norm2(self.conv2(x)))
        streams = [self.layer1(x)]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            lowest = len(streams) - 1  # a new stream starts from it
            entering = []
            for r, step in enumerate(transition):
                source = streams if isinstance(step, NewStream) else streams[min(r, lowest)]
                entering.append(source if step is None else step(source))
            streams = stage(entering)
        return streams
