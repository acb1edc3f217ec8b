"""Operations that compute the papers' formulas exactly and cheaper, one file each.

Each has a plain ``*_reference`` beside it, which tests compare with and exports use, unless it
computes as its formula is written.
"""

from .adaptive_means import AdaptiveMeans, adaptive_means
from .affinity_loss import (
    affinity_loss,
    affinity_loss_reference,
    affinity_sums,
    affinity_sums_reference,
    affinity_terms,
)
from .chained_pooling1x1 import chained_pooling1x1, chained_pooling1x1_reference
from .constant_concat import conv_of_constant_concat, conv_of_constant_concat_reference
from .context_prior import (
    PriorStatistics,
    context_prior,
    context_prior_and_sums,
    context_prior_and_sums_reference,
    context_prior_reference,
    gather_context,
)
from .conv1x1_pair import conv1x1_pair, conv1x1_pair_reference
from .conv_norm_relu import conv_norm_relu, conv_norm_relu_reference
from .dense_block import dense_block, dense_block_reference
from .export import use_references
from .feature_affinity import feature_affinity, feature_affinity_reference
from .gate_rows import gate_rows, gate_rows_reference
from .max_pool5x5 import MaxPool5x5, max_pool5x5, max_pool5x5_reference
from .norm_relu_conv1x1 import norm_relu_conv1x1, norm_relu_conv1x1_reference
from .pool_rows import bin_rows, pool_rows, pool_rows_reference, pool_width
from .residual_blocks import (
    BlockDescription,
    residual_blocks,
    residual_blocks_reference,
    resnet_block,
)
from .resize_bicubic import resize_bicubic
from .strip_gate import strip_gate, strip_gate_reference, strip_sum, strip_sum_reference
from .strip_means import strip_means, strip_means_reference
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
    "AdaptiveMeans",
    "BlockDescription",
    "Conv1x1OfUpsampledConcat",
    "MaxPool5x5",
    "PriorStatistics",
    "UpsampleAdd",
    "UpsampleArgmax",
    "UpsampleCrossEntropy",
    "adaptive_means",
    "affinity_loss",
    "affinity_loss_reference",
    "affinity_sums",
    "affinity_sums_reference",
    "affinity_terms",
    "bin_rows",
    "chained_pooling1x1",
    "chained_pooling1x1_reference",
    "context_prior",
    "context_prior_and_sums",
    "context_prior_and_sums_reference",
    "context_prior_reference",
    "conv1x1_of_upsampled_concat",
    "conv1x1_of_upsampled_concat_reference",
    "conv1x1_pair",
    "conv1x1_pair_reference",
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
    "gate_rows",
    "gate_rows_reference",
    "gather_context",
    "max_pool5x5",
    "max_pool5x5_reference",
    "norm_relu_conv1x1",
    "norm_relu_conv1x1_reference",
    "pool_rows",
    "pool_rows_reference",
    "pool_width",
    "residual_blocks",
    "residual_blocks_reference",
    "resize_bicubic",
    "resnet_block",
    "strip_gate",
    "strip_gate_reference",
    "strip_means",
    "strip_means_reference",
    "strip_sum",
    "strip_sum_reference",
    "upsample_add",
    "upsample_add_reference",
    "upsample_argmax",
    "upsample_argmax_reference",
    "upsample_cross_entropy",
    "upsample_cross_entropy_reference",
    "use_references",
]
