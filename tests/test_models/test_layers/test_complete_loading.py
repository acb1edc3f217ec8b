"""Pretrained weights load whole or are refused by name."""

import pytest
import torch

from mmseg_papers.models.backbones import HighResolutionNet


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
