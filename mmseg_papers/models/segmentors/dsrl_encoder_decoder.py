"""DSRL: segmentation at twice the resolution of the network's input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor

from .fused_encoder_decoder import FusedEncoderDecoder
from .fused_loss import check_device, fused_losses, overrides, why_loss_is_not_fused
from .postprocessing import padding_of

FA_SOURCES = ("feature", "output")
#: Submodules that exist in training only.
TRAINING_BRANCHES = ("sisr_head", "feature_transform")


@MODELS.register_module()
class DSRLEncoderDecoder(FusedEncoderDecoder):
    """Dual super-resolution learning (CVPR 2020) around any backbone and decode head.

    Images come at full size and are halved inside, so data pipelines, labels, sliding windows and
    label maps are those of any other model. The network sees half the sides; its logits go to full
    size (SSSR). In training a second branch on the same encoder reconstructs the full-size image
    (SISR), and the pixel affinities of both branches' features are pulled together (FA):
    L = L_ce + w1 L_mse + w2 L_fa. Neither costs anything afterwards.

    The decode head must be one whose loss is ``loss_by_feat(forward(x))``, as ``mmseg``'s base
    class has it.

    Args:
        backbone, decode_head, neck, auxiliary_head, train_cfg, test_cfg, ...: As ``mmseg``'s
            ``EncoderDecoder``.
        sssr (dict, optional): What takes the head's logits up, ``DeconvSSSR`` or ``BilinearSSSR``.
            ``channels`` is the number of the head's logits by default. Default: None, one bilinear
            resize inside the fused loss and the fused label map.
        sisr_head (dict, optional): ``SISRHead`` or ``DeepLabV3PlusSISRHead``, with w1. Default: no
            SISR.
        feature_transform (dict, optional): ``out_channels`` of the 1x1 conv, BN and ReLU on the
            SSSR side of FA; other options as mmcv's ``ConvModule``. ``in_channels`` is by default
            that of the maps FA compares. Default: none.
        loss_fa (dict, optional): ``FeatureAffinityLoss``, with w2. Default: no FA.
        fa_source (str): What FA compares: ``'feature'``, the last maps before both branches'
            prediction layers (paper), or ``'output'``, full-size logits and image (Dootmaan/DSRL).
            Default: ``'feature'``.
        detach_sr (bool): Whether FA leaves the SISR branch alone; no published code does.
            Default: False.
        halve_align_corners (bool): For halving the image bilinearly. Default: True.
        halve_antialias (bool): Whether halving smooths, as PIL does in the authors' test script.
            Default: False.
        halve_test_images (bool): False takes half-size images in testing and in
            ``mode='tensor'``, as for deployment; results are at twice their size. Default: True.

    Raises:
        ValueError: If an option has another value, FA comes without SISR or a transform without
            FA, or the decode head is not as described.
    """

    training_only = ("auxiliary_head", *TRAINING_BRANCHES)
    #: Of the sides of images that losses are computed for.
    size_divisor = 2

    def __init__(
        self,
        *args,
        sssr: dict | None = None,
        sisr_head: dict | None = None,
        feature_transform: dict | None = None,
        loss_fa: dict | None = None,
        fa_source: str = "feature",
        detach_sr: bool = False,
        halve_align_corners: bool = True,
        halve_antialias: bool = False,
        halve_test_images: bool = True,
        **kwargs,
    ) -> None:
        if fa_source not in FA_SOURCES:
            raise ValueError(f"fa_source must be one of {', '.join(FA_SOURCES)}, got {fa_source!r}")
        if loss_fa is not None and sisr_head is None:
            raise ValueError("loss_fa compares with the SISR branch and needs a sisr_head")
        if feature_transform is not None and loss_fa is None:
            raise ValueError("feature_transform is a part of FA and needs loss_fa")
        super().__init__(*args, **kwargs)
        if overrides(self.decode_head, "loss"):
            raise ValueError(
                "decode_head must have the loss of mmseg's base class, whose logits DSRL takes up; "
                f"got {type(self.decode_head).__name__}, which has a loss of its own"
            )
        logits = self.decode_head.out_channels
        self.sssr = None if sssr is None else MODELS.build({"channels": logits, **sssr})
        self.sisr_head = None if sisr_head is None else MODELS.build(sisr_head)
        self.loss_fa = None if loss_fa is None else MODELS.build(loss_fa)
        self.feature_transform = None
        if feature_transform is not None:
            compared = logits if fa_source == "output" else self.decode_head.conv_seg.in_channels
            defaults = dict(in_channels=compared, kernel_size=1, norm_cfg=dict(type="BN"))
            self.feature_transform = ConvModule(**{**defaults, **feature_transform})
        self.fa_source = fa_source
        self.detach_sr = detach_sr
        self.halve_align_corners = halve_align_corners
        self.halve_antialias = halve_antialias
        self.halve_test_images = halve_test_images

    @property
    def output_scale(self) -> int:
        """Sides of the label map over those of the images that testing takes."""
        return 1 if self.halve_test_images else 2

    def halve(self, images: Tensor) -> Tensor:
        """The network's input.

        Args:
            images (Tensor): (N, C, H, W) with H, W >= 2.

        Returns:
            Tensor: (N, C, H // 2, W // 2).
        """
        return F.interpolate(
            images,
            (images.shape[2] // 2, images.shape[3] // 2),
            mode="bilinear",
            align_corners=self.halve_align_corners,
            antialias=self.halve_antialias,
        )

    def super_resolve_image(self, images: Tensor) -> Tensor:
        """What the SISR branch makes of the halved images.

        Args:
            images (Tensor): Normalised, at full size, (N, C, H, W).

        Returns:
            Tensor: Normalised, (N, C, 2 (H // 2), 2 (W // 2)).

        Raises:
            RuntimeError: If the model has no SISR branch.
        """
        if self.sisr_head is None:
            raise RuntimeError("this model has no sisr_head; it is dropped from exported weights")
        half = self.halve(images)
        return self.sisr_head(self.extract_feat(half), [2 * n for n in half.shape[2:]])[0]

    # Training

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Losses of all branches.

        Args:
            inputs (Tensor): Full-size images, (N, C, H, W), H and W even.
            data_samples (list[SegDataSample]): With labels of the same size.

        Returns:
            dict[str, Tensor]: As ``mmseg``'s, and ``sisr.loss_mse`` and ``loss_fa``, weighted.

        Raises:
            ValueError: If a side of the images is odd.
        """
        size = inputs.shape[2:]
        if size[0] % 2 or size[1] % 2:
            raise ValueError(
                f"training images must have even sides to be halved, got {size[0]} x {size[1]}; "
                "set crop_size and data_preprocessor.size to even numbers"
            )
        half = self.halve(inputs)
        features = self.extract_feat(half)
        with self._tap() as tapped:
            logits = self._super_resolve(self.decode_head.forward(features), half)
        losses = add_prefix(self._segmentation_losses(logits, data_samples), "decode")
        if self.with_auxiliary_head:
            losses.update(self._auxiliary_head_forward_train(features, data_samples))
        if self.sisr_head is None:
            return losses
        image, sr_feature = self.sisr_head(features, size)
        paddings = [padding_of(sample.metainfo) for sample in data_samples]
        losses.update(add_prefix(self.sisr_head.loss_by_image(image, inputs, paddings), "sisr"))
        if self.loss_fa is not None:
            if self.fa_source == "output":
                feature, sr_feature = self._at_full_size(logits, size), image
            else:
                (feature,) = tapped
            if self.feature_transform is not None:
                feature = self.feature_transform(feature)
            if self.detach_sr:
                sr_feature = sr_feature.detach()
            losses["loss_fa"] = self.loss_fa(feature, sr_feature, size)
        return losses

    def _segmentation_losses(self, logits: Tensor, data_samples: list) -> dict[str, Tensor]:
        check_device(self.decode_head)
        reason = why_loss_is_not_fused(self.decode_head)
        self._log_path("loss of decode", self.decode_head, reason)
        if reason is None:
            return fused_losses(self.decode_head, logits, data_samples)
        return self.decode_head.loss_by_feat(logits, data_samples)

    @contextmanager
    def _tap(self) -> Iterator[list[Tensor]]:
        """Collect what the decode head's prediction layer (with its dropout) is given."""
        tapped: list[Tensor] = []
        if self.loss_fa is None or self.fa_source == "output":
            yield tapped
            return
        layer = self.decode_head.dropout or self.decode_head.conv_seg
        handle = layer.register_forward_pre_hook(lambda _, inputs: tapped.append(inputs[0]))
        try:
            yield tapped
        finally:
            handle.remove()
        if len(tapped) != 1:
            raise RuntimeError(
                f"{type(self.decode_head).__name__} called its conv_seg {len(tapped)} times, so "
                "there is no one last feature; set fa_source='output'"
            )

    # Evaluation

    def _forward(self, inputs: Tensor, data_samples: list | None = None) -> Tensor:
        """Logits; at twice the network's input where an SSSR layer takes them there."""
        half = self.halve(inputs) if self.halve_test_images else inputs
        return self._super_resolve(self.decode_head.forward(self.extract_feat(half)), half)

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Logits of full size: that of ``inputs``, or twice that where these are half-size."""
        return self._at_full_size(self._forward(inputs), self._output_size(inputs))

    def postprocess_result(
        self, seg_logits: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """As ``mmseg``'s, for padding in pixels of the input."""
        if data_samples is None:
            return super().postprocess_result(seg_logits)
        scaled = []
        for sample in data_samples:
            meta = sample.metainfo
            meta["img_padding_size"] = [self.output_scale * n for n in padding_of(meta)]
            scaled.append(SegDataSample(metainfo=meta))
        results = super().postprocess_result(seg_logits, scaled)
        for sample, result in zip(data_samples, results, strict=True):
            sample.set_data(
                {
                    name: PixelData(data=getattr(result, name).data)
                    for name in ("seg_logits", "pred_sem_seg")
                }
            )
        return data_samples

    def _super_resolve(self, logits: Tensor, half: Tensor) -> Tensor:
        return logits if self.sssr is None else self.sssr(logits, half.shape[2:])

    def _at_full_size(self, logits: Tensor, size: tuple[int, ...]) -> Tensor:
        if logits.shape[2:] == size:
            return logits
        return F.interpolate(logits, size, mode="bilinear", align_corners=self.align_corners)

    # Weights

    def drop_training_branches(self) -> DSRLEncoderDecoder:
        """Remove SISR, the feature transform and FA, as for export.

        Returns:
            DSRLEncoderDecoder: The model itself; its state dict has none of their keys.
        """
        self.sisr_head = self.feature_transform = self.loss_fa = None
        return self

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Tensor], prefix: str, *args, **kwargs
    ) -> None:
        # A file of a training run fits the model that has dropped its training branches.
        for branch in TRAINING_BRANCHES:
            if getattr(self, branch) is None:
                for key in [k for k in state_dict if k.startswith(f"{prefix}{branch}.")]:
                    del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def without_training_branches(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that inference needs.

    Args:
        state_dict (Mapping[str, Tensor]): Of a :class:`DSRLEncoderDecoder`.

    Returns:
        dict[str, Tensor]: The same without SISR branch and feature transform.
    """
    prefixes = tuple(f"{branch}." for branch in TRAINING_BRANCHES)
    return {key: value for key, value in state_dict.items() if not key.startswith(prefixes)}
