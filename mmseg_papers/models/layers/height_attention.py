"""HANet's attention: one gate for each channel and row."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...ops import bin_rows, gate_rows, pool_rows, pool_width
from ...ops.bilinear import bilinear_matrix
from ...ops.export import is_exporting
from ...ops.pool_rows import POOLINGS

#: Levels of a row position, from 0 at the top of the original image to 127 at its bottom.
LEVELS = 128
#: Rows of the authors' map of positions, which is resized as the image.
SAMPLED_ROWS = 1024
#: The row position of padding.
PADDING = LEVELS
POSITIONS = (None, "sinusoid", "paper_sinusoid", "learned")
#: How the rows of a source become those of the attention.
ROWS_BY = ("pooling", "interpolation")


def row_positions(height: int, device: torch.device | None = None) -> Tensor:
    """Position of every row of a whole image, at any scale.

    As the authors' code has it: they resize a map of 1024 rows by Pillow's nearest sampling, which
    adds up the sampled place row by row. Rounding moves a few rows by one level from
    floor(128 (y + 1/2) / height).

    Args:
        height (int): Rows of the image.
        device (torch.device, optional): Of the result.

    Returns:
        Tensor: (height,), int64, 0..127.
    """
    steps = torch.full((height,), SAMPLED_ROWS / height, dtype=torch.float64)
    steps[0] /= 2
    sampled = steps.cumsum(0).long()  # on the CPU, which adds in order
    return (sampled // (SAMPLED_ROWS // LEVELS)).to(device)


def position_index(positions: Tensor, coarse_height: int) -> Tensor:
    """Rows of the position table for the rows of the attention.

    Args:
        positions (Tensor): (N, H), integers; a value of at least 128 is padding.
        coarse_height (int): Rows of the attention.

    Returns:
        Tensor: (N, coarse_height), int64, 0 (top) .. coarse_height (padding).
    """
    rows = torch.arange(coarse_height, device=positions.device) * positions.shape[1]
    sampled = positions[:, rows // coarse_height].long().clamp(max=PADDING)
    return sampled // (LEVELS // coarse_height)


def jitter_index(index: Tensor, noise: Tensor, coarse_height: int) -> Tensor:
    """Move positions by whole rows, at most an eighth of the height.

    The noise is truncated toward zero, as in the authors' PyTorch 1.4; flooring it, which their
    code does since 1.13, would move half of all rows up.

    Args:
        index (Tensor): (N, coarse_height), int64.
        noise (Tensor): (N, coarse_height), in rows.
        coarse_height (int): Rows of the attention.

    Returns:
        Tensor: (N, coarse_height), int64, in 0..coarse_height.
    """
    lowest, highest = -coarse_height // 8, coarse_height // 8  # the authors', also below 8 rows
    return (index + noise.trunc().long().clamp(lowest, highest)).clamp(0, coarse_height)


def sinusoid_table(positions: int, channels: int, as_paper: bool = False) -> Tensor:
    """The position encoding: 1 + sin or cos of position / base^(2 (j // 2) / channels).

    The base of the authors' code is 10 above 50 channels, else 100.

    Args:
        positions (int): Rows of the table.
        channels (int): Columns of the table.
        as_paper (bool): The paper's encoding instead: base 100 (from memory) and no 1.
            Default: False.

    Returns:
        Tensor: (positions, channels), float32, values in [0, 2], the paper's in [-1, 1].
    """
    base = 10.0 if channels > 50 and not as_paper else 100.0
    column = torch.arange(channels)
    exponent = 2 * (column // 2).double() / channels
    angle = torch.arange(positions).double()[:, None] / base**exponent
    offset = 0 if as_paper else 1
    return (offset + torch.where(column % 2 == 0, angle.sin(), angle.cos())).float()


@MODELS.register_module()
class HeightAttention(BaseModule):
    """Height-driven attention (HANet, arXiv:2003.05128, section 3; the authors' ``HANet_Conv``).

    The source is pooled over its width to ``coarse_height`` rows; 1-D convs over the rows and a
    sigmoid make one factor for each channel and row of the target, which is interpolated to the
    target's height and multiplied with it. Where paper and code differ the defaults are the code's;
    ``rows_by='interpolation', position='paper_sinusoid'`` is the paper's text.

    Hooks belong on its convs: ``HeightAttentionMixin`` does not call the module, but :meth:`pool`
    and :meth:`attention`.

    Args:
        low_channels (int): Channels of the source.
        high_channels (int): Channels of the target.
        reduction (int): r: the first conv has ceil(low_channels / r) channels, for negative r
            low_channels * abs(r). Default: 32.
        num_convs (int): 3, or 2 without the middle conv. Default: 3.
        kernel_size (int): Of the last conv, odd. Default: 3.
        coarse_height (int): Rows of the attention; divides 128. Default: 16.
        pooling (str): ``'mean'`` or ``'max'``. Default: ``'mean'``.
        rows_by (str): ``'pooling'``: one adaptive pooling to the coarse height, as the code;
            ``'interpolation'``: every row is pooled over its width, then they are interpolated, as
            the paper. Default: ``'pooling'``.
        position (str, optional): ``'sinusoid'``, ``'paper_sinusoid'`` (:func:`sinusoid_table`),
            ``'learned'`` or None, without positions. The table is a part of the weights: those of
            another run bring theirs. Default: ``'sinusoid'``.
        position_at (int): The conv before (1) or after (2) which positions are added is the first:
            1 adds them to the pooled source, 2 to the first conv's output. Default: 2.
        dropout_ratio (float): Of the pooled source's channels in training. Default: 0.
        jitter (float): Standard deviation, in rows, of the positions' noise in training.
            Default: 0.
        norm_cfg (dict): A batch norm. Default: ``dict(type='BN')``.
        init_cfg (dict | list[dict], optional): Default: He normal, as the authors'.

    Raises:
        ValueError: If an option has a value outside the ones above.
    """

    def __init__(
        self,
        low_channels: int,
        high_channels: int,
        reduction: int = 32,
        num_convs: int = 3,
        kernel_size: int = 3,
        coarse_height: int = 16,
        pooling: str = "mean",
        rows_by: str = "pooling",
        position: str | None = "sinusoid",
        position_at: int = 2,
        dropout_ratio: float = 0.0,
        jitter: float = 0.0,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        for option, value, allowed in (
            ("num_convs", num_convs, (2, 3)),
            ("pooling", pooling, POOLINGS),
            ("rows_by", rows_by, ROWS_BY),
            ("position", position, POSITIONS),
            ("position_at", position_at, (1, 2)),
        ):
            if value not in allowed:
                raise ValueError(f"{option} must be one of {allowed}, got {value!r}")
        if not isinstance(reduction, int) or reduction == 0:
            raise ValueError(
                f"reduction must be an int above 0, or below 0 for expansion, got {reduction!r}"
            )
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        if coarse_height < 1 or LEVELS % coarse_height:
            raise ValueError(
                f"coarse_height must divide the {LEVELS} levels of a position, got {coarse_height}"
            )
        if not 0 <= dropout_ratio < 1:
            raise ValueError(f"dropout_ratio must be in [0, 1), got {dropout_ratio}")
        if jitter < 0:
            raise ValueError(f"jitter must be at least 0, got {jitter}")
        he = dict(type="Kaiming", layer="Conv1d", mode="fan_in", nonlinearity="relu", bias=0)
        super().__init__(he if init_cfg is None else init_cfg)
        self.low_channels = low_channels
        self.high_channels = high_channels
        self.coarse_height = coarse_height
        self.pooling = pooling
        self.rows_by = rows_by
        self.position = position
        self.position_at = position_at
        self.jitter = jitter
        if reduction > 0:
            channels = math.ceil(low_channels / reduction)
        else:
            channels = low_channels * -reduction
        self.dropout = nn.Dropout1d(dropout_ratio) if dropout_ratio else nn.Identity()
        self.conv1 = nn.Conv1d(low_channels, channels, 1, bias=False)
        self.bn1 = _norm(norm_cfg, channels)
        self.conv2 = None
        width = channels
        if num_convs == 3:
            width = 2 * channels
            self.conv2 = nn.Conv1d(channels, width, 3, padding=1)
            self.bn2 = _norm(norm_cfg, width)
        self.conv3 = nn.Conv1d(width, high_channels, kernel_size, padding=kernel_size // 2)
        if position is not None:
            size = (coarse_height + 1, low_channels if position_at == 1 else channels)
            if position == "learned":
                self.position_table = nn.Parameter(torch.zeros(size))
            else:
                table = sinusoid_table(*size, as_paper=position == "paper_sinusoid")
                self.register_buffer("position_table", table)

    def pool(self, x: Tensor) -> Tensor:
        """Pool the rows of a source.

        Args:
            x (Tensor): (N, low_channels, H, W), or some of its channels.

        Returns:
            Tensor: (N, C, coarse_height) for C channels.
        """
        if self.rows_by == "pooling":
            return pool_rows(x, self.coarse_height, self.pooling)
        return self.coarse_rows(pool_width(x, self.pooling))

    def coarse_rows(self, rows: Tensor) -> Tensor:
        """Reduce a source that is pooled over its width.

        Args:
            rows (Tensor): (N, C, H).

        Returns:
            Tensor: (N, C, coarse_height).
        """
        if self.rows_by == "pooling":
            return bin_rows(rows, self.coarse_height, self.pooling)
        return interpolate_rows(rows, self.coarse_height)

    def attention(self, pooled: Tensor, height: int, index: Tensor | None = None) -> Tensor:
        """Factors of a target's rows.

        Args:
            pooled (Tensor): (N, low_channels, coarse_height), as :meth:`pool` gives.
            height (int): Rows of the target.
            index (Tensor, optional): As in :meth:`forward`.

        Returns:
            Tensor: (N, high_channels, height), in (0, 1).
        """
        positions = self._positions(index)
        if positions is not None and self.position_at == 1:
            pooled = pooled + positions
        x = F.relu(self.bn1(self.conv1(self.dropout(pooled))))
        if positions is not None and self.position_at == 2:
            x = x + positions
        if self.conv2 is not None:
            x = F.relu(self.bn2(self.conv2(x)))
        return interpolate_rows(self.conv3(x).sigmoid(), height)

    def forward(self, x_low: Tensor, x_high: Tensor, index: Tensor | None = None) -> Tensor:
        """Gate the target by the source.

        Args:
            x_low (Tensor): The source, (N, low_channels, H_l, W_l).
            x_high (Tensor): The target, (N, high_channels, H_h, W_h).
            index (Tensor, optional): The position of each row of the attention, (N or 1,
                coarse_height), int64, as :func:`position_index` gives. Default: positions are not
                added, as in the authors' code.

        Returns:
            Tensor: The gated target, of its shape.
        """
        gate = self.attention(self.pool(x_low), x_high.shape[2], index)
        return gate_rows(x_high, gate.to(x_high.dtype))

    def _positions(self, index: Tensor | None) -> Tensor | None:
        """Encoded positions, (N or 1, channels, coarse_height)."""
        if index is None or self.position is None:
            return None
        if self.training and self.jitter:
            noise = torch.randn(index.shape, device=index.device) * self.jitter
            index = jitter_index(index, noise, self.coarse_height)
        return F.embedding(index, self.position_table).transpose(1, 2)


def interpolate_rows(x: Tensor, height: int) -> Tensor:
    """Linear interpolation of rows, by a matrix, whose backward pass is deterministic on CUDA.

    Args:
        x (Tensor): (N, C, B).
        height (int): H.

    Returns:
        Tensor: (N, C, H), as ``interpolate(x, height, mode='linear')``.
    """
    rows = x.shape[2]
    if not is_exporting() and height == rows:  # asked first, or a graph holds for this height only
        return x
    if not x.is_cuda or is_exporting():
        return F.interpolate(x, height, mode="linear", align_corners=False)
    matrix = bilinear_matrix(rows, height, False, x.device, torch.float32)
    return x @ matrix.T.to(x.dtype)


def _norm(norm_cfg: dict | None, channels: int) -> nn.Module:
    """Batch norm over (N, channels, rows)."""
    cfg = dict(norm_cfg or dict(type="BN"))
    if cfg["type"] in ("BN", "BN2d"):
        cfg["type"] = "BN1d"  # SyncBN takes maps of any rank
    return build_norm_layer(cfg, channels)[1]
