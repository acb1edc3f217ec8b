"""ResNet with plug-in layers in chosen bottlenecks, as SPNet places its strip pooling."""

from __future__ import annotations

from mmengine.model import Sequential
from mmseg.models.backbones import ResNetV1c
from mmseg.models.backbones.resnet import Bottleneck
from mmseg.registry import MODELS
from torch import Tensor

from ..layers import CompleteLoading, check_image_channels, require_layer
from .train_returns_self import TrainReturnsSelf

POSITIONS = ("after_conv1", "after_conv2", "after_conv3")


@MODELS.register_module()
class PluginResNetV1c(CompleteLoading, TrainReturnsSelf, ResNetV1c):
    """``mmseg``'s ``ResNetV1c`` whose plug-in layers go into chosen blocks of a stage.

    ``mmseg`` puts a plug-in layer into every block of a stage; SPNet (arXiv:2003.13328) has one in
    the last block of the first three stages and in every block of the last. Keys are those of
    ``mmseg``. A file may lack plug-in layers, as ImageNet weights do: they keep their own
    initialisation. Other weights that do not fit are refused.

    SPNet's backbone has ``stem_channels=128``, ``strides=(1, 2, 1, 1)``, ``dilations=(1, 1, 2,
    4)``, ``contract_dilation=True`` and ``multi_grid=(4, 8, 16)``, which are dilations.

    Args:
        depth (int): 18, 34, 50, 101 or 152; with plug-in layers 50, 101 or 152.
        plugins (list[dict], optional): Each with ``cfg`` (a plug-in layer of mmcv), ``position``
            (``'after_conv1'``, ``'after_conv2'`` or ``'after_conv3'``), perhaps ``stages`` (a bool
            for each; default: all), and perhaps ``blocks`` (their numbers within a stage, from the
            end if negative; default: all). Norms of a plug-in layer are not the backbone's: name
            ``norm_cfg`` in ``cfg``.
        **kwargs: As ``mmseg``'s ResNetV1c.

    Raises:
        ValueError: If the network has no bottlenecks, or ``plugins`` name a position, stage or
            block that it does not have, or no block at all.

    Example:
        >>> import torch
        >>> from mmseg_papers.models.backbones import PluginResNetV1c
        >>> spm = dict(type='StripPoolingModule')
        >>> net = PluginResNetV1c(depth=50, plugins=[dict(
        ...     cfg=spm, position='after_conv2', stages=(True, True, True, False), blocks=(-1,))])
        >>> [name for name, module in net.named_modules() if name.endswith('.spm')]
        ['layer1.2.spm', 'layer2.3.spm', 'layer3.5.spm']
    """

    def __init__(self, depth: int, *, plugins: list[dict] | None = None, **kwargs) -> None:
        if plugins:
            self._check(depth, plugins, kwargs.get("num_stages", 4))
        for cfg in (kwargs.get("conv_cfg"), kwargs.get("norm_cfg")):
            require_layer(cfg)
        super().__init__(depth=depth, plugins=plugins, **kwargs)
        self.optional_children += tuple(
            f"{stage}.{index}.{name}"
            for stage in self.res_layers
            for index, block in enumerate(getattr(self, stage))
            for position in POSITIONS
            for name in getattr(block, f"{position}_plugin_names", ())
        )

    def make_res_layer(self, plugins: list[dict] | None, **kwargs) -> Sequential:
        """A stage, with each of ``plugins`` in its ``blocks``.

        Args:
            plugins (list[dict], optional): Those of the stage, as for the constructor.
            **kwargs: As ``mmseg``'s: ``block``, ``inplanes``, ``planes``, ``num_blocks`` and so on.

        Returns:
            Sequential: The blocks.
        """
        stage = super().make_res_layer(plugins=None, **kwargs)
        for index, block in enumerate(stage):
            chosen = [
                plugin
                for plugin in plugins or ()
                if index
                in (number % len(stage) for number in plugin.get("blocks", range(len(stage))))
            ]
            block.with_plugins = bool(chosen)
            for position in POSITIONS if chosen else ():
                cfgs = [plugin["cfg"] for plugin in chosen if plugin["position"] == position]
                planes = block.planes * (block.expansion if position == "after_conv3" else 1)
                names = block.make_block_plugins(planes, cfgs)
                setattr(block, f"{position}_plugin_names", names)
        return stage

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Extract maps.

        Args:
            x (Tensor): Images, (N, in_channels, H, W).

        Returns:
            tuple[Tensor, ...]: The maps of ``out_indices``.

        Raises:
            ValueError: If the images have another number of channels than the network.
        """
        check_image_channels(x, self.stem[0] if self.deep_stem else self.conv1, self)
        return super().forward(x)

    @classmethod
    def _check(cls, depth: int, plugins: list[dict], num_stages: int) -> None:
        with_bottlenecks = [d for d, (b, _) in cls.arch_settings.items() if b is Bottleneck]
        if depth not in with_bottlenecks:
            raise ValueError(
                f"plugins go into bottlenecks, which ResNets of depth {with_bottlenecks} have, got "
                f"depth={depth}, whose basic blocks take none; leave plugins out or go deeper"
            )
        lengths = cls.arch_settings[depth][1][:num_stages]
        for plugin in plugins:
            position, stages = plugin.get("position"), plugin.get("stages") or (True,) * num_stages
            if position not in POSITIONS:
                raise ValueError(
                    f"a plugin's position must be one of {', '.join(POSITIONS)}, got {position!r}"
                )
            if len(stages) != num_stages or not any(stages):
                raise ValueError(
                    f"a plugin's stages must be {num_stages} bools, at least one of them True, got "
                    f"{stages}"
                )
            shortest = min(n for n, chosen in zip(lengths, stages, strict=True) if chosen)
            blocks = plugin.get("blocks", (0,))
            if not blocks or not all(-shortest <= number < shortest for number in blocks):
                raise ValueError(
                    f"a plugin's blocks must be numbers from {-shortest} to {shortest - 1}, since "
                    f"the stages {tuple(stages)} of depth {depth} have at least {shortest} blocks, "
                    f"got {blocks}"
                )
