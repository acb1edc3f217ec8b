"""Operations that compute the papers' formulas exactly and cheaper, one file each."""

from .upsampled_concat import conv1x1_of_upsampled_concat, conv1x1_of_upsampled_concat_reference

__all__ = ["conv1x1_of_upsampled_concat", "conv1x1_of_upsampled_concat_reference"]
