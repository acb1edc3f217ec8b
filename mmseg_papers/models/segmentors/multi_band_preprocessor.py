"""Normalisation of images with any number of channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS


@MODELS.register_module()
class MultiBandPreProcessor(SegDataPreProcessor):
    """``mmseg``'s preprocessor for any number of channels; MMEngine's takes 1 or 3 means only.

    Args:
        mean (Sequence[float]): Of each channel, in the order that they are loaded.
        std (Sequence[float]): Of each channel.
        **kwargs: As ``mmseg``'s ``SegDataPreProcessor``.

    Raises:
        ValueError: If ``mean`` and ``std`` differ in length, or a ``std`` is not positive.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **kwargs) -> None:
        if len(mean) != len(std):
            raise ValueError(f"mean has {len(mean)} values and std {len(std)}")
        if min(std) <= 0:
            raise ValueError(f"std must be positive, got {tuple(std)}")
        super().__init__(**kwargs)
        self._enable_normalize = True
        for name, values in (("mean", mean), ("std", std)):
            value = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, value, persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise, pad and stack.

        Args:
            data (dict): ``inputs``, each (C, H, W), and ``data_samples``.
            training (bool): As ``SegDataPreProcessor``. Default: False.

        Returns:
            dict: ``inputs`` (N, C, H, W) and ``data_samples``.

        Raises:
            ValueError: If an image has another number of channels than ``mean``.
        """
        for image in data["inputs"]:
            if image.shape[0] != len(self.mean):
                raise ValueError(
                    f"data_preprocessor.mean has {len(self.mean)} values, but an image has "
                    f"{image.shape[0]} channels; give one value a channel, and set "
                    "color_type='unchanged' in LoadImageFromFile to load all channels"
                )
        return super().forward(data, training)
