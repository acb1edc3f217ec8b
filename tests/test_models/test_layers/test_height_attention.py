"""HANet's gate: options, counts, positions."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from mmseg_papers.models.layers import HeightAttention
from mmseg_papers.models.layers.height_attention import (
    interpolate_rows,
    jitter_index,
    position_index,
    row_positions,
    sinusoid_table,
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(reduction=0), "reduction must be an int above 0.*got 0"),
        (dict(reduction=2.5), r"got 2\.5"),
        (dict(num_convs=4), r"num_convs must be one of \(2, 3\), got 4"),
        (dict(kernel_size=4), "kernel_size must be odd, got 4"),
        (dict(coarse_height=12), "coarse_height must divide the 128 levels of a position, got 12"),
        (dict(pooling="sum"), r"pooling must be one of \('mean', 'max'\), got 'sum'"),
        (dict(rows_by="bins"), "rows_by must be one of .*'interpolation'.*got 'bins'"),
        (dict(position="sine"), "position must be one of .*'sinusoid', .*'learned'.*got 'sine'"),
        (dict(position_at=3), r"position_at must be one of \(1, 2\), got 3"),
        (dict(dropout_ratio=1), r"dropout_ratio must be in \[0, 1\), got 1"),
        (dict(jitter=-1), "jitter must be at least 0, got -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        HeightAttention(32, 8, **options)


@pytest.mark.parametrize(
    ("low", "high", "reduction", "channels"),
    [
        (1024, 9, 32, 32),
        (304, 256, 16, 19),
        (304, 256, 64, 5),
        (256, 19, 64, 4),
        (12, 5, -2, 24),
    ],
)
def test_a_reduction_that_does_not_divide_rounds_up_as_published(low, high, reduction, channels):
    layer = HeightAttention(low, high, reduction)
    m = channels
    assert layer.conv1.out_channels == m
    count = low * m + 2 * m + (3 * m * 2 * m + 2 * m) + 4 * m + (3 * 2 * m * high + high)
    assert sum(p.numel() for p in layer.parameters()) == count
    assert layer.position_table.shape == (17, m)


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("height", [16, 37])
def test_rows_as_in_the_papers_text(pooling, height):
    layer = HeightAttention(8, 4, 2, pooling=pooling, rows_by="interpolation")
    x = torch.randn(2, 8, height, 6)
    of_rows = x.mean(3) if pooling == "mean" else x.amax(3)
    expected = torch.nn.functional.interpolate(of_rows, 16, mode="linear", align_corners=False)
    torch.testing.assert_close(layer.pool(x), expected)
    assert layer(x, torch.randn(2, 4, 9, 5), torch.arange(16)[None]).isfinite().all()


def test_encoding_as_in_the_papers_text():
    table = HeightAttention(128, 4, 2, position="paper_sinusoid").position_table
    assert table.shape == (17, 64)
    angle = 5 / 100 ** (6 / 64)
    assert table[5, 6].item() == pytest.approx(math.sin(angle))
    assert table[5, 7].item() == pytest.approx(math.cos(angle))
    of_code = sinusoid_table(17, 50)  # of the same base below 51 channels
    torch.testing.assert_close(sinusoid_table(17, 50, as_paper=True) + 1, of_code)


def test_learned_positions_start_at_zero_and_learn():
    layer = HeightAttention(8, 4, 2, position="learned")
    assert not layer.position_table.detach().any()
    x = torch.randn(2, 8, 20, 6)
    layer(x, torch.randn(2, 4, 9, 5), torch.arange(16)[None]).sum().backward()
    assert layer.position_table.grad[:16].abs().sum() > 0
    assert not layer.position_table.grad[16].any()


def test_a_fresh_gate_is_about_a_half():
    torch.manual_seed(0)
    layer = HeightAttention(256, 128, 4)
    layer.init_weights()
    gate = layer.attention(layer.pool(torch.randn(2, 256, 32, 16)), 32, torch.arange(16)[None])
    assert gate.mean().item() == pytest.approx(0.5, abs=0.02)
    assert gate.std().item() == pytest.approx(0.19, abs=0.03)


def test_without_index_positions_are_left_out():
    layer = HeightAttention(8, 4, 2).eval()
    bare = HeightAttention(8, 4, 2, position=None).eval()
    bare.load_state_dict({k: v for k, v in layer.state_dict().items() if k != "position_table"})
    x, y = torch.randn(1, 8, 20, 6), torch.randn(1, 4, 9, 5)
    torch.testing.assert_close(layer(x, y), bare(x, y))
    assert not torch.allclose(layer(x, y), layer(x, y, torch.arange(16)[None]))


@pytest.mark.parametrize("coarse_height", [8, 16, 32])
def test_a_whole_image_counts_up(coarse_height):
    for height in (128, 512, 1024):
        index = position_index(row_positions(height)[None], coarse_height)
        assert index.tolist() == [list(range(coarse_height))]


@pytest.mark.parametrize("first_height", [1, 300, 583, 1000, 2000])
def test_positions_are_those_of_a_map_resized_by_pillow(first_height):
    rows = (np.arange(1024) // 8).astype(np.uint8)
    image = Image.fromarray(rows.reshape(-1, 1))
    for height in range(first_height, first_height + 40):
        resized = np.asarray(image.resize((1, height), Image.Resampling.NEAREST))
        assert row_positions(height).tolist() == resized[:, 0].tolist()


def test_padding_has_the_last_row_of_the_table():
    rows = torch.cat([row_positions(64), torch.full((64,), 255)])[None]
    assert position_index(rows, 16)[0].tolist() == [*range(0, 16, 2), *[16] * 8]


def test_jitter_is_as_rare_as_published():
    index = torch.full((1000, 16), 7)
    moved = jitter_index(index, torch.randn(1000, 16) * 0.5, 16) - index
    assert (moved == 0).float().mean().item() == pytest.approx(0.9545, abs=0.01)
    assert (moved == 1).float().mean().item() == pytest.approx(0.0228, abs=0.005)
    assert (moved == -1).float().mean().item() == pytest.approx(0.0228, abs=0.005)


def test_jitter_is_for_training():
    layer = HeightAttention(8, 4, 2, jitter=3.0)
    layer.bn1.eval()
    layer.bn2.eval()
    x, y = torch.randn(1, 8, 20, 6), torch.randn(1, 4, 9, 5)
    index = torch.arange(16)[None]
    assert not torch.equal(layer(x, y, index), layer(x, y, index))
    layer.eval()
    torch.testing.assert_close(layer(x, y, index), layer(x, y, index))


def test_rows_are_interpolated_by_a_matrix_on_a_gpu(monkeypatch):
    for rows, height in ((16, 37), (16, 5), (1, 4)):
        x = torch.randn(2, 3, rows)
        expected = interpolate_rows(x, height)
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "is_cuda", True)
            torch.testing.assert_close(interpolate_rows(x, height), expected)


def test_rows_of_a_map_lower_than_the_attention():
    layer = HeightAttention(8, 4, 2).eval()
    assert layer(torch.randn(1, 8, 3, 2), torch.randn(1, 4, 5, 7)).shape == (1, 4, 5, 7)
