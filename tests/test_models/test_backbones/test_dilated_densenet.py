"""DilatedDenseNet: its tables, sizes, what of a file loads and what is refused."""

import re

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_papers.checkpoints import convert_state_dict
from mmseg_papers.models.backbones import DilatedDenseNet

SMALL = dict(growth_rate=4, stem_channels=8, num_layers=(1, 2, 1, 2))


@pytest.mark.parametrize(
    ("arch", "parameters", "channels"),
    [
        ("121", 7_479_168, 512),
        ("161", 28_911_840, 1104),
        ("169", 13_870_592, 832),
        ("201", 19_938_048, 960),
    ],
)
def test_counts(arch, parameters, channels):
    with torch.device("meta"):
        net = DilatedDenseNet(arch)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net.out_channels == channels


@pytest.mark.parametrize(
    ("arch", "parameters"),
    [("121", 7_978_856), ("161", 28_681_000), ("169", 14_149_480), ("201", 20_013_928)],
)
def test_without_the_fourth_transition_it_is_densenet(arch, parameters):
    with torch.device("meta"):
        net = DilatedDenseNet(arch, transition4=False)
    classifier = 1001 * net.out_channels - net.out_channels + 1000
    assert sum(p.numel() for p in net.parameters()) + classifier == parameters


@pytest.mark.parametrize(
    ("output_stride", "pools", "dilations"),
    [
        (8, [True, False, False, False], [1, 1, 2, 4]),
        (16, [True, True, False, False], [1, 1, 1, 2]),
    ],
)
def test_output_strides(output_stride, pools, dilations):
    net = DilatedDenseNet(SMALL, output_stride=output_stride).eval()
    transitions = [getattr(net, f"transition{i}") for i in range(1, 5)]
    assert [t.pool for t in transitions] == pools
    blocks = [getattr(net, f"denseblock{i}") for i in range(1, 5)]
    assert [[layer.conv2.dilation[0] for layer in block] for block in blocks] == [
        [d] * len(block) for d, block in zip(dilations, blocks, strict=True)
    ]
    with torch.no_grad():
        maps = net(torch.rand(1, 3, 101, 147))
    third = (13, 18) if output_stride == 8 else (6, 9)
    # With 16 the last map is resized by 2, so the head finds 1/8 in both.
    last = third if output_stride == 8 else (12, 18)
    assert [tuple(y.shape[2:]) for y in maps] == [(26, 37), (13, 18), third, last]
    assert [y.shape[1] for y in maps] == [12, 14, 11, 6]
    assert (maps[3] < 0).any(), "the ReLU is the head's"


def test_frozen_parts_and_norm_eval():
    net = DilatedDenseNet(SMALL, frozen_stages=2)
    assert net.train() is net
    trained = {name.split(".")[0] for name, p in net.named_parameters() if p.requires_grad}
    assert trained == {"denseblock3", "transition3", "denseblock4", "transition4", "norm5"}
    modes = {
        name.split(".")[0]: m.training
        for name, m in net.named_modules()
        if isinstance(m, _BatchNorm)
    }
    assert {name for name, mode in modes.items() if mode} == trained
    net = DilatedDenseNet(SMALL, norm_eval=True).train()
    assert not any(m.training for m in net.modules() if isinstance(m, _BatchNorm))
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("output_stride", [8, 16])
def test_recomputing_changes_no_bit(output_stride):
    plain, recomputing = (
        DilatedDenseNet(SMALL, output_stride=output_stride, with_cp=with_cp).train()
        for with_cp in (False, True)
    )
    recomputing.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 64, 48)
    for net in (plain, recomputing):
        sum(y.square().mean() for y in net(x)).backward()
    for (name, a), b in zip(plain.named_parameters(), recomputing.parameters(), strict=True):
        assert a.grad is not None, name
        assert torch.equal(a.grad, b.grad), name
    for (name, a), b in zip(plain.named_buffers(), recomputing.buffers(), strict=True):
        assert torch.equal(a, b), name


def imagenet_file(dotted):
    """What torchvision publishes for a DenseNet: other names, no transition4, a classifier."""
    source = DilatedDenseNet(SMALL, transition4=False)
    nn.init.uniform_(source.norm5.weight)
    weights = {}
    for key, value in source.state_dict().items():
        if dotted:
            for kind in ("norm", "conv"):
                for i in "12":
                    key = key.replace(f".{kind}{i}.", f".{kind}.{i}.")
        if not (dotted and key.endswith("num_batches_tracked")):  # older than PyTorch 0.4.1
            weights[f"features.{key}"] = value
    weights |= {"classifier.weight": torch.rand(10, 12), "classifier.bias": torch.rand(10)}
    return source.state_dict(), weights


@pytest.mark.parametrize("dotted", [True, False])
def test_imagenet_files(dotted, tmp_path, monkeypatch):
    """With ``Pretrained``, which loads non-strictly: every layer, and said what stays random."""
    said = []
    monkeypatch.setattr(
        "mmseg_papers.models.backbones.dilated_densenet.print_log", lambda *x: said.append(x[0])
    )
    source, weights = imagenet_file(dotted)
    file = tmp_path / "densenet.pth"
    torch.save(weights, file)
    net = DilatedDenseNet(
        SMALL, init_cfg=dict(type="Pretrained", checkpoint=str(file), prefix="features")
    )
    own = {k: v.clone() for k, v in net.state_dict().items()}
    net.init_weights()
    new = [k for k in own if k.startswith(("transition4.", "norm5."))]
    assert new
    for key, value in net.state_dict().items():
        assert torch.equal(value, own[key] if key in new else source[key]), key
    (message,) = said
    assert "transition4 and norm5 keep their initial values, everything else is loaded" in message


def test_imagenet_files_fit_whole_without_the_fourth_transition(tmp_path):
    source, weights = imagenet_file(dotted=True)
    file = tmp_path / "densenet.pth"
    torch.save(weights, file)
    init_cfg = dict(type="Pretrained", checkpoint=str(file), prefix="features")
    net = DilatedDenseNet(SMALL, transition4=False, init_cfg=init_cfg)
    net.init_weights()
    assert all(torch.equal(v, source[k]) for k, v in net.state_dict().items())


def mmpretrain_file():
    """The same network's weights under mmpretrain's names."""
    source = DilatedDenseNet(SMALL, transition4=False)
    weights = {"head.fc.weight": torch.rand(10, 12), "head.fc.bias": torch.rand(10)}
    for key, value in source.state_dict().items():
        for pattern, theirs in (
            (r"^conv0\.", "stem.0."),
            (r"^norm0\.", "stem.1."),
            (r"^norm5\.", "transitions.3.0."),
        ):
            key = re.sub(pattern, theirs, key)
        block = re.match(r"denseblock(\d)\.denselayer(\d+)\.(.*)", key)
        transition = re.match(r"transition(\d)\.(.*)", key)
        if block:
            key = f"stages.{int(block[1]) - 1}.block.{int(block[2]) - 1}.{block[3]}"
        elif transition:
            key = f"transitions.{int(transition[1]) - 1}.{transition[2]}"
        weights[f"backbone.{key}"] = value
    return source.state_dict(), weights


def test_mmpretrain_files(tmp_path):
    source, weights = mmpretrain_file()
    file = tmp_path / "densenet.pth"
    torch.save(dict(state_dict=weights), file)
    init_cfg = dict(type="Pretrained", checkpoint=str(file), prefix="backbone.")
    net = DilatedDenseNet(SMALL, transition4=False, init_cfg=init_cfg)
    net.init_weights()
    assert all(torch.equal(v, source[k]) for k, v in net.state_dict().items())
    ours = convert_state_dict("denseaspp", weights)
    assert ours.keys() == {f"backbone.{k}" for k in source}
    assert all(torch.equal(v, source[k.removeprefix("backbone.")]) for k, v in ours.items())


def test_imagenet_files_convert():
    source, weights = imagenet_file(dotted=True)
    ours = convert_state_dict("denseaspp", weights)
    assert sorted(ours) == sorted(
        f"backbone.{k}" for k in source if not k.endswith("num_batches_tracked")
    )
    assert all(torch.equal(v, source[k.removeprefix("backbone.")]) for k, v in ours.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(num_layers=(1, 2, 1, 1)), "of another shape: norm5.weight"),
        (dict(num_layers=(1, 2, 2, 2)), r"missing: denseblock3\.denselayer2"),
        (dict(growth_rate=6), "nothing was loaded"),
    ],
)
def test_refuses_files_of_another_depth(change, message):
    _, weights = imagenet_file(dotted=True)
    weights = {key.removeprefix("features."): value for key, value in weights.items()}
    net = DilatedDenseNet({**SMALL, **change})
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(RuntimeError, match=message):
        net.load_state_dict(weights, strict=False)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_refuses_files_with_a_layer_missing():
    """Non-strict loading would leave it random in silence."""
    _, weights = imagenet_file(dotted=True)
    weights = {key.removeprefix("features."): value for key, value in weights.items()}
    del weights["denseblock2.denselayer2.conv.1.weight"]
    with pytest.raises(RuntimeError, match=r"1 missing: denseblock2\.denselayer2\.conv1\.weight"):
        DilatedDenseNet(SMALL).load_state_dict(weights, strict=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(arch="131"), "arch must be one of 121, 161, 169, 201 or a dict .* got '131'"),
        (dict(arch=121), "arch must be one of 121, .* got 121"),
        (dict(arch=dict(growth_rate=4)), "arch must be one of .* got {'growth_rate': 4}"),
        (
            dict(arch=dict(SMALL, num_layers=(1, 2, 3))),
            r"arch\.num_layers must be four ints, got \(1, 2, 3\)",
        ),
        (dict(output_stride=32), "output_stride must be of 8, 16, got 32"),
        (dict(frozen_stages=5), "frozen_stages must be of -1, 0, 1, 2, 3, 4, got 5"),
        (dict(out_indices=(3, 4)), "out_indices must be of 0, 1, 2, 3, got 4"),
    ],
)
def test_refuses_options(options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        DilatedDenseNet(**{"arch": SMALL, **options})


def test_refuses_images_that_do_not_fit():
    net = DilatedDenseNet(SMALL)
    with pytest.raises(ValueError, match=r"4 x 90 pixels leave no cell .* larger crop_size"):
        net(torch.rand(1, 3, 4, 90))
