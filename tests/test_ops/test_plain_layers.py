"""Which layers may be read in place of being called."""

import pytest
from mmcv.cnn.bricks.conv_ws import ConvWS2d
from mmengine.model import revert_sync_batchnorm
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm

from mmseg_papers.ops.batch_norm import is_batch_norm
from mmseg_papers.ops.plain_layers import is_dense_conv, is_hooked, is_plain_conv

REGISTER = (
    nn.Module.register_forward_pre_hook,
    nn.Module.register_forward_hook,
    nn.Module.register_full_backward_pre_hook,
    nn.Module.register_full_backward_hook,
)


class _OtherNorm(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) + 1


def test_a_conv():
    assert is_plain_conv(nn.Conv2d(2, 3, 1))


@pytest.mark.parametrize(
    "conv",
    [
        ConvWS2d(2, 3, 1),
        nn.Linear(2, 3),
        nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"),
        parametrizations.spectral_norm(nn.Conv2d(2, 3, 1)),
        prune.identity(nn.Conv2d(2, 3, 1), "weight"),
        spectral_norm(nn.Conv2d(2, 3, 1)),
    ],
)
def test_other_convs(conv):
    assert not is_plain_conv(conv)


@pytest.mark.parametrize(
    ("side", "options"), [(1, {}), (3, dict(padding=1)), (3, dict(padding=2, dilation=2))]
)
def test_a_dense_conv(side, options):
    assert is_dense_conv(nn.Conv2d(2, 4, side, **options), side)
    assert not is_dense_conv(nn.Conv2d(2, 4, side, **options), side + 2)
    assert not is_dense_conv(ConvWS2d(2, 4, side, **options), side)


@pytest.mark.parametrize(
    "options",
    [
        dict(stride=2, padding=1),
        dict(padding=1, groups=2),
        dict(padding=0),
        dict(padding="same"),
        dict(padding=1, dilation=2),
        dict(padding=(1, 2), dilation=(1, 2)),
        dict(padding=1, padding_mode="reflect"),
    ],
)
def test_other_convs_than_dense(options):
    assert not is_dense_conv(nn.Conv2d(2, 4, 3, **options), 3)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(2),
        nn.SyncBatchNorm(2),
        revert_sync_batchnorm(nn.SyncBatchNorm(2)),
    ],
)
def test_a_norm(norm):
    assert is_batch_norm(norm)


@pytest.mark.parametrize(
    "norm",
    [
        None,
        nn.GroupNorm(1, 2),
        nn.BatchNorm2d(2, affine=False),
        nn.BatchNorm2d(2, track_running_stats=False),
        _OtherNorm(2),
    ],
)
def test_other_norms(norm):
    assert not is_batch_norm(norm)


@pytest.mark.parametrize("register", REGISTER)
def test_hooks(register):
    conv, norm = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)
    assert not is_hooked(conv, norm)
    handles = [register(layer, lambda *_: None) for layer in (conv, norm)]
    assert is_hooked(nn.ReLU(), conv)
    assert not is_plain_conv(conv)
    assert not is_batch_norm(norm)
    for handle in handles:
        handle.remove()
    assert is_plain_conv(conv)
    assert is_batch_norm(norm)


def test_a_call_of_its_own():
    conv = nn.Conv2d(2, 3, 1)
    conv.forward = conv.forward  # as MMEngine's activation_checkpointing leaves it
    assert not is_plain_conv(conv)


@pytest.mark.torch_2_4
def test_a_compiled_call():
    conv = nn.Conv2d(2, 3, 1)
    conv.compile(backend="eager")
    assert not is_plain_conv(conv)
