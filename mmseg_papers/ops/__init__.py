"""Operations that compute the papers' formulas exactly and cheaper, one file each.

Each has a plain ``*_reference`` beside it, which tests compare with and exports use.
"""

from .chained_pooling1x1 import chained_pooling1x1, chained_pooling1x1_reference
from .constant_concat import conv_of_constant_concat, conv_of_constant_concat_reference
from .conv1x1_pair import conv1x1_pair, conv1x1_pair_reference
from .feature_affinity import feature_affinity, feature_affinity_reference
from .max_pool5x5 import MaxPool5x5, max_pool5x5, max_pool5x5_reference
from .resize_bicubic import resize_bicubic
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
    "MaxPool5x5",
    "UpsampleAdd",
    "UpsampleArgmax",
    "UpsampleCrossEntropy",
    "chained_pooling1x1",
    "chained_pooling1x1_reference",
    "conv1x1_of_upsampled_concat",
    "conv1x1_of_upsampled_concat_reference",
    "conv1x1_pair",
    "conv1x1_pair_reference",
    "conv3x3_of_upsampled_concat",
    "conv3x3_of_upsampled_concat_reference",
    "conv_of_constant_concat",
    "conv_of_constant_concat_reference",
    "feature_affinity",
    "feature_affinity_reference",
    "max_pool5x5",
    "max_pool5x5_reference",
    "resize_bicubic",
    "upsample_add",
    "upsample_add_reference",
    "upsample_argmax",
    "upsample_argmax_reference",
    "upsample_cross_entropy",
    "upsample_cross_entropy_reference",
]
