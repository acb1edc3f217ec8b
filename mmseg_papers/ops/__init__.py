"""Operations that compute the papers' formulas exactly and cheaper, one file each.

Each has a plain ``*_reference`` beside it, which tests compare with and exports use.
"""

from .constant_concat import conv_of_constant_concat, conv_of_constant_concat_reference
from .conv_norm_relu import conv_norm_relu, conv_norm_relu_reference
from .dense_block import dense_block, dense_block_reference
from .feature_affinity import feature_affinity, feature_affinity_reference
from .norm_relu_conv1x1 import norm_relu_conv1x1, norm_relu_conv1x1_reference
from .upsample_add import UpsampleAdd, upsample_add, upsample_add_reference
from .upsample_argmax import UpsampleArgmax, upsample_argmax, upsample_argmax_reference
from .upsample_cross_entropy import (
    UpsampleCrossEntropy,
    upsample_cross_entropy,
    upsample_cross_entropy_reference,
)
from .upsampled_concat import (
    Conv1x1OfUpsampledConcat,
    conv1x1_of_upsampled_concat,
    conv1x1_of_upsampled_concat_reference,
    conv3x3_of_upsampled_concat,
    conv3x3_of_upsampled_concat_reference,
)

__all__ = [
    "Conv1x1OfUpsampledConcat",
    "UpsampleAdd",
    "UpsampleArgmax",
    "UpsampleCrossEntropy",
    "conv1x1_of_upsampled_concat",
    "conv1x1_of_upsampled_concat_reference",
    "conv3x3_of_upsampled_concat",
    "conv3x3_of_upsampled_concat_reference",
    "conv_norm_relu",
    "conv_norm_relu_reference",
    "conv_of_constant_concat",
    "conv_of_constant_concat_reference",
    "dense_block",
    "dense_block_reference",
    "feature_affinity",
    "feature_affinity_reference",
    "norm_relu_conv1x1",
    "norm_relu_conv1x1_reference",
    "upsample_add",
    "upsample_add_reference",
    "upsample_argmax",
    "upsample_argmax_reference",
    "upsample_cross_entropy",
    "upsample_cross_entropy_reference",
]
