"""What happens to one image's logits after the network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...ops.upsample_argmax import upsample_argmax
from .sliding_window import SlidingWindow


@dataclass(frozen=True)
class Postprocessing:
    """The steps of ``mmseg``'s ``predict_by_feat`` and ``postprocess_result`` for one image.

    Resize to ``size``, remove the padding ``crop``, flip back, resize to ``out_size``.

    Args:
        size (tuple[int, int]): Height and width of the network's input.
        align_corners (bool): Of both resizes.
        crop (tuple[int, int, int, int]): Padding at left, right, top and bottom. Default: none.
        flip (str, optional): ``'horizontal'`` or ``'vertical'``.
        out_size (tuple[int, int], optional): Default: as after the crop.

    Raises:
        ValueError: If ``flip`` is something else.
    """

    size: tuple[int, int]
    align_corners: bool
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    flip: str | None = None
    out_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.flip not in (None, "horizontal", "vertical"):
            raise ValueError(
                "flip_direction must be 'horizontal' or 'vertical' where flip is True, "
                f"got {self.flip!r}"
            )

    @classmethod
    def of(
        cls,
        meta: dict,
        merged_size: tuple[int, int] | None,
        align_corners: bool,
        output_scale: int = 1,
    ) -> Postprocessing:
        """The steps that an image's meta information asks for.

        Args:
            meta (dict): ``ori_shape``; ``pad_shape`` or ``img_shape``; padding and flip, if any.
            merged_size (tuple[int, int], optional): The size of logits merged of windows, which
                needs no look at ``meta``.
            align_corners (bool): Of both resizes.
            output_scale (int): Of the results over the network's input, which ``meta`` describes.
                Default: 1.

        Returns:
            Postprocessing: Of this image.
        """
        if merged_size is not None:
            size = merged_size
        elif isinstance(meta["img_shape"], torch.Size):  # how mmseg knows a window
            size = [output_scale * n for n in meta["img_shape"]]
        else:
            size = [output_scale * n for n in meta.get("pad_shape", meta["img_shape"])[:2]]
        return cls(
            tuple(size),
            align_corners,
            crop=tuple(output_scale * n for n in padding_of(meta)),
            flip=str(meta.get("flip_direction")) if meta.get("flip") else None,
            out_size=tuple(meta["ori_shape"]),
        )

    @property
    def cropped_size(self) -> tuple[int, int]:
        """Height and width without padding."""
        left, right, top, bottom = self.crop
        return (self.size[0] - top - bottom, self.size[1] - left - right)

    @property
    def result_size(self) -> tuple[int, int]:
        """Height and width in the end."""
        return self.out_size or self.cropped_size

    @property
    def resizes_twice(self) -> bool:
        """Whether the second resize changes anything."""
        return self.result_size != self.cropped_size

    def label_maps(self, logits: Tensor, with_confidence: bool) -> tuple[Tensor, ...]:
        """Labels and perhaps the winners' probabilities.

        Args:
            logits (Tensor): (N, K, h, w).
            with_confidence (bool): Whether the probabilities are wanted.

        Returns:
            tuple[Tensor, ...]: One or two maps, (N, H, W) of :attr:`result_size`.
        """
        result = upsample_argmax(
            logits,
            self.size,
            align_corners=self.align_corners,
            crop=self.crop,
            out_size=self.out_size,
            flip=self.flip,
            with_confidence=with_confidence,
        )
        return result if with_confidence else (result,)

    def cut(self, full: Tensor) -> Tensor:
        """Remove the padding and flip back.

        Args:
            full (Tensor): Maps (..., H, W) of ``size``.

        Returns:
            Tensor: (..., H, W) of :attr:`cropped_size`.
        """
        left, right, top, bottom = self.crop
        full = full[..., top : full.shape[-2] - bottom, left : full.shape[-1] - right]
        return full if self.flip is None else full.flip(-1 if self.flip == "horizontal" else -2)

    def logits(self, logits: Tensor) -> Tensor:
        """Full-size logits.

        Args:
            logits (Tensor): The network's, (1, K, h, w).

        Returns:
            Tensor: (K, H, W) of :attr:`result_size`.
        """
        full = self._resize(self.cut(self._resize(logits, self.size)), self.result_size)
        return full.squeeze(0)

    def window_logits(
        self, windows: SlidingWindow, logits: list[Tensor], dtype: torch.dtype
    ) -> Tensor:
        """Full-size logits from those of windows.

        Args:
            windows (SlidingWindow): The windows.
            logits (list[Tensor]): Of each window, (1, K, h, w).
            dtype (torch.dtype): In which they are added.

        Returns:
            Tensor: (K, H, W) of :attr:`result_size`.
        """
        return self.logits(windows.merge(logits, dtype))

    def _resize(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if x.shape[2:] == size:
            return x
        return F.interpolate(x, size, mode="bilinear", align_corners=self.align_corners)


def padding_of(meta: dict) -> tuple[int, ...]:
    """What an image was padded with, in testing or training.

    Args:
        meta (dict): Its meta information.

    Returns:
        tuple[int, ...]: Pixels at left, right, top and bottom.
    """
    return tuple(meta.get("img_padding_size", meta.get("padding_size", (0, 0, 0, 0))))


def winner_probability(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Probability of the label, of K classes or of one class and its background.

    Args:
        probabilities (Tensor): (K, H, W).
        labels (Tensor): (1, H, W).

    Returns:
        Tensor: (1, H, W).
    """
    if len(probabilities) > 1:
        return probabilities.gather(0, labels.long())
    return torch.where(labels.bool(), probabilities, 1 - probabilities)
