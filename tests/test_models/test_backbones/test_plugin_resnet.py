"""PluginResNetV1c: where plug-in layers go, what loads, and what is refused."""

import pytest
import torch
from mmseg.models.backbones import ResNetV1c

from mmseg_papers.models.backbones import HighResolutionNet, PluginResNetV1c
from mmseg_papers.models.layers import StripPoolingModule

SPM = dict(cfg=dict(type="StripPoolingModule"), position="after_conv2")
SPNET = [
    dict(SPM, stages=(True, True, True, False), blocks=(-1,)),
    dict(SPM, stages=(False, False, False, True)),
]
#: A quarter of the width.
NARROW = dict(depth=50, base_channels=16, stem_channels=32)


def places(net):
    return [name for name, module in net.named_modules() if isinstance(module, StripPoolingModule)]


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (50, ["layer1.2.spm", "layer2.3.spm", "layer3.5.spm"]),
        (101, ["layer1.2.spm", "layer2.3.spm", "layer3.22.spm"]),
    ],
)
def test_published_places(depth, expected):
    with torch.device("meta"):
        net = PluginResNetV1c(depth=depth, plugins=SPNET)
    assert places(net) == [*expected, "layer4.0.spm", "layer4.1.spm", "layer4.2.spm"]
    parameters = sum(
        p.numel() for name in places(net) for p in net.get_submodule(name).parameters()
    )
    assert round(parameters / 1e6, 2) == 6.12


def test_all_blocks_of_all_stages_are_mmsegs():
    """So weights pass between the two classes."""
    theirs = ResNetV1c(**NARROW, plugins=[SPM]).double()
    ours = PluginResNetV1c(**NARROW, plugins=[SPM]).double()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.eval()  # returns None
    x = torch.randn(1, 3, 33, 64, dtype=torch.float64)
    with torch.no_grad():
        for a, b in zip(ours.eval()(x), theirs(x), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("position", ["after_conv1", "after_conv3"])
def test_other_positions(position):
    plugin = dict(SPM, position=position, stages=(True, False, False, False), blocks=(0, 2))
    net = PluginResNetV1c(**NARROW, plugins=[plugin])
    assert places(net) == ["layer1.0.spm", "layer1.2.spm"]
    assert net.layer1[0].spm.conv1.in_channels == (64 if position == "after_conv3" else 16)
    net(torch.randn(2, 3, 32, 32))[-1].sum().backward()
    assert net.layer1[2].spm.conv3.weight.grad.abs().sum() > 0


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        net = PluginResNetV1c(**NARROW, plugins=SPNET, with_cp=with_cp).double()
        x = torch.randn(2, 3, 32, 48, dtype=torch.float64)
        net(x)[-1].square().mean().backward()
        gradients.append(net.layer4[1].spm.conv1.weight.grad)
    torch.testing.assert_close(*gradients)


def test_train_returns_the_module_and_keeps_frozen_parts():
    net = PluginResNetV1c(**NARROW, plugins=SPNET, frozen_stages=1, norm_eval=True)
    assert net.train() is net
    assert net.eval() is net
    net.train()
    assert not any(p.requires_grad for p in net.layer1[2].spm.parameters())
    assert not net.layer4[0].spm.bn1.training


@pytest.fixture(scope="module")
def with_plugins():
    return PluginResNetV1c(**NARROW, plugins=SPNET).state_dict()


def pretrained(path, weights):
    torch.save({"state_dict": weights}, path)
    init_cfg = dict(type="Pretrained", checkpoint=str(path))
    return PluginResNetV1c(**NARROW, plugins=SPNET, init_cfg=init_cfg)


def test_imagenet_weights_leave_plugins_as_initialised(with_plugins, tmp_path):
    stock = {k: v for k, v in with_plugins.items() if ".spm." not in k}
    net = pretrained(tmp_path / "a.pth", {**stock, "fc.weight": torch.zeros(1)})
    net.init_weights()
    assert torch.equal(net.layer4[0].conv1.weight, stock["layer4.0.conv1.weight"])
    weight = net.layer4[0].spm.conv1.weight
    assert weight.std().item() == pytest.approx((2 / (3 * 128)) ** 0.5, rel=0.05)
    with pytest.raises(RuntimeError, match=r"Missing key.*layer1\.2\.spm\.conv1\.weight"):
        net.load_state_dict(stock, strict=True)


@pytest.mark.parametrize("key", ["layer4.0.spm.conv1.weight", "layer4.0.conv1.weight"])
def test_a_part_of_a_module_is_refused(key, with_plugins, tmp_path):
    net = pretrained(tmp_path / "a.pth", {k: v for k, v in with_plugins.items() if k != key})
    with pytest.raises(RuntimeError, match=rf"missing: {key}"):
        net.init_weights()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(depth=18, plugins=SPNET), r"depth \[50, 101, 152\] have, got depth=18"),
        (dict(plugins=[dict(SPM, position="after_conv4")]), "one of after_conv1.*'after_conv4'"),
        (dict(plugins=[dict(cfg=SPM["cfg"])]), "position must be .* got None"),
        (dict(plugins=[dict(SPM, stages=(True, False))]), r"must be 4 bools.*\(True, False\)"),
        (dict(plugins=[dict(SPM, stages=(False,) * 4)]), "at least one of them True"),
        (dict(plugins=[dict(SPM, blocks=(3,))]), r"numbers from -3 to 2.*got \(3,\)"),
        (dict(plugins=[dict(SPM, blocks=())]), r"blocks must be.*got \(\)"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        PluginResNetV1c(**{**NARROW, **options})


def test_a_backbone_without_blocks_for_them_names_the_option():
    with pytest.raises(TypeError, match="unexpected keyword argument 'plugins'"):
        HighResolutionNet(arch="w18_small_v1", plugins=[SPM])
