"""Segmentor whose output stride is one option."""

from __future__ import annotations

from mmseg.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

from .fused_encoder_decoder import FusedEncoderDecoder


@MODELS.register_module()
class AtrousEncoderDecoder(FusedEncoderDecoder):
    """Encoder-decoder that DeepLab trains at one output stride and evaluates at another.

    One option sets the strides and rates of backbone and pyramid, so a config trained at output
    stride 16 is evaluated at 8 by ``--cfg-options model.output_stride=8``; the weights are the same
    (arXiv:1706.05587, tables 6 and 10).

    Args:
        *args: As ``mmseg``'s ``EncoderDecoder``.
        output_stride (int, optional): Input size over the size of the backbone's last map, set on
            every part that has ``set_output_stride``. Default: as the parts say.
        norm_eval (bool): Whether batch norm of the whole model uses its running statistics in
            training and leaves them, while its weights and biases are trained: the authors' "frozen
            BN" of the second step of the schedule (arXiv:1706.05587, section 4.1). Default: False.
        **kwargs: As ``mmseg``'s ``EncoderDecoder``.

    Raises:
        ValueError: If the backbone has no output stride to set, or a part cannot have this.
    """

    def __init__(
        self, *args, output_stride: int | None = None, norm_eval: bool = False, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        self.norm_eval = norm_eval
        if output_stride is not None:
            self.set_output_stride(output_stride)

    def set_output_stride(self, output_stride: int) -> None:
        """Change strides and rates of backbone and heads; weights stay as they are.

        Args:
            output_stride (int): Such as 8, 16 or 32.

        Raises:
            ValueError: If the backbone has no output stride to set, or a part cannot have this.
        """
        if not hasattr(self.backbone, "set_output_stride"):
            raise ValueError(
                f"{type(self.backbone).__name__} has no output_stride to set; use AtrousResNet or "
                "AlignedXception, or leave model.output_stride out"
            )
        for part in self.modules():
            if part is not self and hasattr(part, "set_output_stride"):
                part.set_output_stride(output_stride)

    def train(self, mode: bool = True) -> AtrousEncoderDecoder:
        """Set the training mode, with batch norm in evaluation mode for ``norm_eval``.

        Args:
            mode (bool): Training (True) or evaluation (False). Default: True.

        Returns:
            AtrousEncoderDecoder: The module itself.
        """
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
