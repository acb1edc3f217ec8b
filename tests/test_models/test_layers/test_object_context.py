"""Object attention against the plain formula; what is refused."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.models.utils import SelfAttentionBlock
from torch import nn

from mmseg_papers.models.layers import ObjectAttention, SpatialOCR, gather_objects

OPTIONS = dict(norm_cfg=dict(type="BN"), act_cfg=dict(type="ReLU"))


class ActivatedBatchNorm(nn.BatchNorm2d):
    """Batch norm and activation in one layer, as ``InPlaceABN``."""

    def forward(self, x):
        return F.leaky_relu(super().forward(x))


def maps(size=(9, 13), classes=7):
    pixels = torch.randn(2, 8, *size, dtype=torch.float64, requires_grad=True)
    return pixels, torch.randn(2, 8, classes, 1, dtype=torch.float64, requires_grad=True)


def randomised(block):
    for name, value in [*block.named_parameters(), *block.named_buffers()]:
        if name.endswith("running_var"):
            value.data.uniform_(0.5, 2)
        elif value.is_floating_point():
            value.data.normal_()
    return block.double()


def plain_attention(block, pixels, objects):
    """The context is mixed first and projected for every pixel, as published."""
    pooled = F.max_pool2d(pixels, block.scale)
    context = SelfAttentionBlock.forward(block, pooled, objects)
    if block.scale == 1:
        return context
    size = pixels.shape[2:]
    return F.interpolate(context, size, mode="bilinear", align_corners=block.align_corners)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize(
    "norm_cfg",
    [
        dict(type="BN"),
        dict(type="BN", track_running_stats=False),
        None,
        dict(type="GN", num_groups=2),
        dict(type=ActivatedBatchNorm),
    ],
    ids=["bn", "bn of the batch", "none", "gn", "abn"],
)
def test_attention_equals_the_plain_formula(training, scale, norm_cfg):
    options = dict(scale=scale, norm_cfg=norm_cfg, act_cfg=dict(type="ReLU"))
    block = randomised(ObjectAttention(8, 4, **options)).train(training)
    inputs = maps()
    ours, plain = block(*inputs), plain_attention(block, *inputs)
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10)
    upstream = torch.randn_like(plain)
    tensors = [*inputs, *block.parameters()]
    for a, b in zip(
        torch.autograd.grad(ours, tensors, upstream, retain_graph=True),
        torch.autograd.grad(plain, tensors, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("part", ["", "conv", "norm"])
def test_hooks_of_the_projection_see_the_pixels_and_change_them(part):
    block, inputs, seen = randomised(ObjectAttention(8, 4, **OPTIONS)).eval(), maps(), []
    block.out_project.get_submodule(part).register_forward_hook(
        lambda _, xs, y: seen.append(xs[0].shape) or y.cos()
    )
    expected = plain_attention(block, *inputs)
    torch.testing.assert_close(block(*inputs), expected, rtol=1e-10, atol=1e-10)
    assert seen == [(2, 8 if part == "norm" else 4, 9, 13)] * 2


@pytest.mark.parametrize("training", [True, False])
def test_fusion_equals_the_concatenation(training):
    block = randomised(SpatialOCR(8, 4, 6, **OPTIONS)).train(training)
    pixels, objects = maps()
    context = plain_attention(block, pixels, objects)
    expected = block.bottleneck(torch.cat([context, pixels], dim=1))
    torch.testing.assert_close(block(pixels, objects), expected, rtol=1e-10, atol=1e-10)


def test_a_hooked_fusion_equals_the_other():
    block, inputs, seen = randomised(SpatialOCR(8, 4, 6, **OPTIONS)), maps(), []
    expected = block(*inputs)
    block.bottleneck.register_forward_hook(lambda *_: seen.append(1))
    torch.testing.assert_close(block(*inputs), expected, rtol=1e-10, atol=1e-10)
    assert seen == [1]


def test_batch_statistics_are_those_of_the_pixels():
    """In training the projection's BN sees H x W mixtures, not K vectors."""
    block = randomised(ObjectAttention(8, 4, **OPTIONS)).train()
    other = randomised(ObjectAttention(8, 4, **OPTIONS)).train()
    other.load_state_dict(block.state_dict())
    inputs = maps()
    block(*inputs)
    plain_attention(other, *inputs)
    for (name, a), b in zip(block.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


def test_gather_is_a_soft_max_over_positions():
    features = torch.randn(2, 5, 3, 4).double()
    logits = torch.randn(2, 7, 3, 4).double()
    weight = logits.flatten(2).exp()
    weight = weight / weight.sum(2, keepdim=True)
    expected = torch.einsum("nkp,ncp->nck", weight, features.flatten(2))
    torch.testing.assert_close(gather_objects(features, logits).squeeze(3), expected)


def test_refuses_logits_of_another_size():
    with pytest.raises(ValueError, match=r"size \(8, 8\), got \(4, 4\)"):
        gather_objects(torch.rand(1, 3, 8, 8), torch.rand(1, 2, 4, 4))


@pytest.mark.parametrize("scale", [0, 1.5])
def test_refuses_a_scale(scale):
    with pytest.raises(ValueError, match=f"scale must be an int of at least 1, got {scale}"):
        ObjectAttention(8, 4, scale=scale, **OPTIONS)
