"""Pretrained weights load whole or are refused by name."""

import pytest
import torch

from mmseg_papers.models.backbones import AtrousResNet, HighResolutionNet, PluginResNetV1c


def save(path, state_dict):
    torch.save({"state_dict": state_dict}, path)
    return str(path)


@pytest.fixture(scope="module")
def weights():
    return HighResolutionNet(arch="w18_small_v1").state_dict()


def pretrained(checkpoint, arch="w18_small_v1", **options):
    init_cfg = dict(type="Pretrained", checkpoint=checkpoint, **options)
    return HighResolutionNet(arch=arch, init_cfg=init_cfg)


def test_loads_with_the_extra_entries_of_an_imagenet_file(weights, tmp_path):
    net = pretrained(save(tmp_path / "a.pth", {**weights, "classifier.weight": torch.zeros(1)}))
    net.init_weights()
    torch.testing.assert_close(net.conv1.weight, weights["conv1.weight"])


def test_loads_without_batch_counters(weights, tmp_path):
    old = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    net = pretrained(save(tmp_path / "a.pth", old))
    net.init_weights()
    torch.testing.assert_close(net.conv1.weight, weights["conv1.weight"])


def test_refuses_another_width(weights, tmp_path):
    net = pretrained(save(tmp_path / "a.pth", weights), arch="w18_small_v2")
    before = net.conv1.weight.clone()
    with pytest.raises(RuntimeError, match=r"layer1\.0\.conv1\.weight: \[32, 64, 1, 1\] instead"):
        net.init_weights()
    assert torch.equal(net.conv1.weight, before), "nothing may be loaded"


def test_refuses_a_prefix_and_names_the_cure(weights, tmp_path):
    file = save(tmp_path / "a.pth", {f"backbone.{k}": v for k, v in weights.items()})
    with pytest.raises(RuntimeError, match=r"missing: conv1\.weight.*prefix='backbone\.'"):
        pretrained(file).init_weights()
    net = pretrained(file, prefix="backbone.")
    net.init_weights()
    torch.testing.assert_close(net.conv1.weight, weights["conv1.weight"])


def test_layers_that_a_subclass_adds(weights):
    class Added(HighResolutionNet):
        def __init__(self):
            super().__init__(arch="w18_small_v1")
            self.attention = torch.nn.Conv2d(16, 16, 1)

    net = Added()
    with pytest.raises(RuntimeError, match=r"missing: attention\.weight.*optional_children"):
        net.load_state_dict(weights, strict=False)
    net.optional_children = ("attention",)
    net.load_state_dict(weights, strict=False)


CONTEXT = dict(cfg=dict(type="ContextBlock", ratio=0.25), position="after_conv3")


@pytest.mark.parametrize(
    ("base", "options"),
    [(AtrousResNet, dict(num_blocks=5)), (PluginResNetV1c, dict(plugins=[CONTEXT]))],
)
def test_a_subclass_adds_to_what_its_base_adds(base, options):
    class Added(base):
        optional_children = ("attention",)

        def __init__(self, **kwargs):
            super().__init__(depth=50, base_channels=4, **kwargs)
            self.attention = torch.nn.Conv2d(16, 16, 1)

    weights = base(depth=50, base_channels=4).state_dict()
    Added(**options).load_state_dict(weights, strict=False)


@pytest.mark.parametrize("channels", [1, 2, 4, 12])
def test_rgb_filters_serve_other_channels(channels):
    """Equal channels give what three equal channels gave."""
    rgb, other = (HighResolutionNet(arch="w18_small_v1", in_channels=c) for c in (3, channels))
    other.load_state_dict(rgb.state_dict())
    grey = torch.randn(1, 1, 9, 9)
    expected = rgb.conv1(grey.expand(-1, 3, -1, -1))
    got = other.conv1(grey.expand(-1, channels, -1, -1))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(other.conv2.weight, rgb.conv2.weight)


def test_filters_of_other_than_rgb_are_refused():
    four, five = (HighResolutionNet(arch="w18_small_v1", in_channels=c) for c in (4, 5))
    with pytest.raises(RuntimeError, match=r"conv1\.weight: \[64, 4, 3, 3\] instead"):
        five.load_state_dict(four.state_dict())
