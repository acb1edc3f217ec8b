"""DenseNet with dilation in place of its last pools, as DenseASPP uses it."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...ops import conv_norm_relu
from ..layers import (
    CompleteLoading,
    DenseBlock,
    DenseLayer,
    DenseTransition,
    check_image_channels,
    require_layer,
)

#: arch -> (growth rate, channels of the stem, layers of the four blocks)
ARCHS: dict[str, tuple[int, int, tuple[int, int, int, int]]] = {
    "121": (32, 64, (6, 12, 24, 16)),
    "161": (48, 96, (6, 12, 36, 24)),
    "169": (32, 64, (6, 12, 32, 32)),
    "201": (32, 64, (6, 12, 48, 32)),
}
#: output stride -> (which transitions pool, dilations of the blocks)
OUTPUT_STRIDES = {
    8: ((True, False, False, False), (1, 1, 2, 4)),
    16: ((True, True, False, False), (1, 1, 1, 2)),
}
#: Beginnings of mmpretrain's names -> ours.
OF_MMPRETRAIN: list[tuple[str, Callable[[re.Match], str]]] = [
    (r"stem\.0\.", lambda _: "conv0."),
    (r"stem\.1\.", lambda _: "norm0."),
    (
        r"stages\.(\d)\.block\.(\d+)\.",
        lambda name: f"denseblock{int(name[1]) + 1}.denselayer{int(name[2]) + 1}.",
    ),
    (r"transitions\.3\.0\.", lambda _: "norm5."),
    (r"transitions\.(\d)\.", lambda name: f"transition{int(name[1]) + 1}."),
]
#: torchvision's published files write "norm.1" where PyTorch has allowed only "norm1" since 0.4.
DOTTED = r"(denselayer\d+\.(?:norm|conv))\.([12])\."


@MODELS.register_module()
class DilatedDenseNet(CompleteLoading, BaseModule):
    """DenseNet (arXiv:1608.06993) dilated for dense prediction (DenseASPP, CVPR 2018, section 3).

    Four dense blocks, each followed by a transition that halves the channels (also the fourth,
    which torchvision's lacks), then a BN. There is no ReLU at the end: ``DenseASPPHead`` applies
    it. Transitions after the first (``output_stride=8``) or second (16) do not pool; dilation keeps
    the receptive field. With 16 the last map is up-sampled by 2 (bilinear, ``align_corners=True``
    as in the authors' PyTorch), so that the head works at 1/8 in both.

    The dense blocks run in one buffer each, in training as one autograd function each
    (:func:`mmseg_papers.ops.dense_block`).

    ImageNet files of torchvision load, with dotted (``norm.1``) or plain (``norm1``) names, by
    ``init_cfg=dict(type='Pretrained', checkpoint=..., prefix='features')``. They have no
    ``transition4`` and a wider ``norm5``: these keep their initial values, and the log says so.
    Anything else that is missing is refused.

    Args:
        arch (str | dict): ``'121'``, ``'161'``, ``'169'``, ``'201'``, or a dict of
            ``growth_rate``, ``stem_channels``, ``num_layers`` (four ints) and perhaps ``bn_size``
            (the bottleneck is ``bn_size * growth_rate`` wide; default 4).
        output_stride (int): 8 or 16. Default: 8.
        transition4 (bool): False for plain DenseNet: ``norm5`` reads the fourth block, and
            ImageNet's fits. Default: True.
        in_channels (int): Of the images. Default: 3.
        out_indices (Sequence[int]): 0, 1, 2: outputs of the first three dense blocks (1/4, 1/8,
            1/8 or 1/16); 3: of ``norm5`` (1/8). Default: all.
        frozen_stages (int): How many parts keep their weights and statistics: 0 the stem, 1 to 4
            also the dense blocks up to there with their transitions. Default: -1, none.
        norm_eval (bool): Whether BN keeps its running statistics in training. Default: False.
        with_cp (bool): Recompute the 1x1 convs of the dense blocks in the backward pass.
            Default: False.
        norm_cfg (dict): Default: ``dict(type='BN')``.
        init_cfg (dict, optional): Default: kaiming-uniform convs, BN with scale 1.

    Raises:
        ValueError: If an option has a value outside the ones above.
        ImportError: If ``norm_cfg`` needs mmcv's compiled operations and mmcv has none.

    Example:
        >>> import torch
        >>> from mmseg_papers.models.backbones import DilatedDenseNet
        >>> net = DilatedDenseNet('121').eval()
        >>> [tuple(y.shape) for y in net(torch.rand(1, 3, 64, 96))]
        [(1, 256, 16, 24), (1, 512, 8, 12), (1, 1024, 8, 12), (1, 512, 8, 12)]
    """

    def __init__(
        self,
        arch: str | dict = "121",
        *,
        output_stride: int = 8,
        transition4: bool = True,
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        growth, channels, num_layers, bn_size = _parse_arch(arch)
        for option, value, allowed in (
            ("output_stride", output_stride, tuple(OUTPUT_STRIDES)),
            ("frozen_stages", frozen_stages, range(-1, 5)),
            *(("out_indices", index, range(4)) for index in out_indices),
        ):
            if value not in allowed:
                raise ValueError(
                    f"{option} must be of {', '.join(map(str, allowed))}, got {value!r}"
                )
        norm_cfg = norm_cfg or dict(type="BN")
        require_layer(norm_cfg)
        self.output_stride = output_stride
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.conv0 = nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_uniform_(self.conv0.weight)
        self.norm0 = build_norm_layer(norm_cfg, channels)[1]
        self.pool0 = nn.MaxPool2d(3, stride=2, padding=1)
        pools, dilations = OUTPUT_STRIDES[output_stride]
        stages = enumerate(zip(num_layers, pools, dilations, strict=True), start=1)
        for stage, (count, pool, dilation) in stages:
            block = DenseBlock(
                OrderedDict(
                    (
                        f"denselayer{i + 1}",
                        DenseLayer(
                            channels + i * growth,
                            bn_size * growth,
                            growth,
                            dilation=dilation,
                            norm_cfg=norm_cfg,
                        ),
                    )
                    for i in range(count)
                ),
                with_cp=with_cp,
            )
            self.add_module(f"denseblock{stage}", block)
            channels += count * growth
            if stage < 4 or transition4:
                transition = DenseTransition(channels, channels // 2, pool=pool, norm_cfg=norm_cfg)
                self.add_module(f"transition{stage}", transition)
                channels //= 2
        self.norm5 = build_norm_layer(norm_cfg, channels)[1]
        #: Channels of the last map, ``decode_head.in_channels``.
        self.out_channels = channels
        # Before training, too: distributed training asks first which parameters have gradients.
        self._freeze_stages()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Extract maps.

        Args:
            x (Tensor): Images (N, in_channels, H, W), more than ``output_stride`` - 4 pixels
                high and wide.

        Returns:
            tuple[Tensor, ...]: The maps of ``out_indices``. Stem and max pool round sizes up, the
            average pool down: the last is floor(ceil(H / 4) / 2) high (with ``output_stride=16``
            2 * floor(ceil(H / 4) / 4)).

        Raises:
            ValueError: If the images have other channels or are smaller than that, or a
                batch norm has one value a channel to train on.
        """
        check_image_channels(x, self.conv0, self)
        if -(-min(x.shape[2:]) // 4) < self.output_stride // 4:
            raise ValueError(
                f"images of {x.shape[2]} x {x.shape[3]} pixels leave no cell at output_stride="
                f"{self.output_stride}; use a larger crop_size"
            )
        x = self.pool0(conv_norm_relu(x, self.conv0, self.norm0))
        outs = {}
        for stage in range(1, 5):
            x = getattr(self, f"denseblock{stage}")(x)
            if stage < 4 and stage - 1 in self.out_indices:
                outs[stage - 1] = x
            if hasattr(self, f"transition{stage}"):
                x = getattr(self, f"transition{stage}")(x)
        x = self.norm5(x)
        if self.output_stride == 16:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        outs[3] = x
        return tuple(outs[i] for i in self.out_indices)

    def _freeze_stages(self) -> None:
        frozen = ["conv0", "norm0"] if self.frozen_stages >= 0 else []
        for stage in range(1, self.frozen_stages + 1):
            frozen += [f"denseblock{stage}", f"transition{stage}"]
        for name in frozen:
            if hasattr(self, name):
                getattr(self, name).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> DilatedDenseNet:
        """Set the training mode, keeping frozen stages and (``norm_eval``) BN in evaluation mode.

        Args:
            mode (bool): Training (True) or evaluation (False). Default: True.

        Returns:
            DilatedDenseNet: The module itself.
        """
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def rename_keys(self, state_dict: dict[str, Tensor], prefix: str) -> None:
        """Give torchvision's and mmpretrain's weights the names of these modules, in place.

        Args:
            state_dict (dict[str, Tensor]): Of a model.
            prefix (str): What names of this backbone's begin with.
        """
        for key in [k for k in state_dict if k.startswith(prefix)]:
            name = re.sub(DOTTED, r"\1\2.", key[len(prefix) :])
            for theirs, ours in OF_MMPRETRAIN:
                name = re.sub(f"^{theirs}", ours, name)
            state_dict[prefix + name] = state_dict.pop(key)
        for name in ("weight", "bias"):
            state_dict.pop(f"{prefix}classifier.{name}", None)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        self.rename_keys(state_dict, prefix)
        self._keep_what_imagenet_lacks(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _keep_what_imagenet_lacks(self, state_dict: dict, prefix: str) -> None:
        """Let ``transition4`` and ``norm5`` keep their values if the file is plain DenseNet's."""
        if not hasattr(self, "transition4"):
            return
        wide = state_dict.get(f"{prefix}norm5.weight")
        is_plain = wide is not None and len(wide) == self.transition4.conv.in_channels
        if not is_plain or any(key.startswith(f"{prefix}transition4.") for key in state_dict):
            return
        own = {
            k: v for k, v in self.state_dict().items() if k.startswith(("transition4.", "norm5."))
        }
        state_dict.update({prefix + name: value for name, value in own.items()})
        print_log(
            f"{type(self).__name__}: the file is a plain DenseNet's; transition4 and norm5 keep "
            "their initial values, everything else is loaded",
            "current",
        )


def _parse_arch(arch: str | dict) -> tuple[int, int, tuple[int, ...], int]:
    """Growth rate, channels of the stem, layers of the blocks, bottleneck width over growth."""
    if isinstance(arch, str) and arch in ARCHS:
        return *ARCHS[arch], 4
    keys = {"growth_rate", "stem_channels", "num_layers"}
    if isinstance(arch, dict) and keys <= set(arch) <= {*keys, "bn_size"}:
        if len(arch["num_layers"]) != 4:
            raise ValueError(f"arch.num_layers must be four ints, got {arch['num_layers']}")
        return (
            arch["growth_rate"],
            arch["stem_channels"],
            tuple(arch["num_layers"]),
            arch.get("bn_size", 4),
        )
    raise ValueError(
        f"arch must be one of {', '.join(ARCHS)} or a dict of growth_rate, stem_channels, "
        f"num_layers and perhaps bn_size, got {arch!r}"
    )
