"""MultiScaleBackbone: independent backbones on resized images."""

import pytest
import torch
from mmseg.models.backbones import ResNet

from mmseg_papers.models.backbones import MultiScaleBackbone
from mmseg_papers.ops import resize_bicubic

RESNET = dict(type="ResNet", depth=18)


def test_maps_of_each_scale():
    net = MultiScaleBackbone(RESNET, scales=(0.5, 1)).eval()
    x = torch.rand(1, 3, 66, 98)
    with torch.no_grad():
        maps = net(x)
        first = net.backbones[0](resize_bicubic(x, (33, 49)))
        second = net.backbones[1](x)
    for a, b in zip(maps, [*first, *second], strict=True):
        assert torch.equal(a, b)
    assert maps[0].shape[2:] == (9, 13)
    assert maps[4].shape[2:] == (17, 25)


def test_weights_are_its_own():
    net = MultiScaleBackbone(RESNET, scales=(0.5, 1))
    pointers = {p.data_ptr() for p in net.parameters()}
    assert len(pointers) == sum(1 for _ in net.parameters())


def test_every_backbone_starts_from_pretrained_weights(tmp_path):
    source = ResNet(18)
    torch.save(source.state_dict(), tmp_path / "resnet18.pth")
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "resnet18.pth"))
    net = MultiScaleBackbone(dict(RESNET, init_cfg=init_cfg))
    net.init_weights()
    for backbone in net.backbones:
        torch.testing.assert_close(backbone.state_dict(), source.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("scales", [(), (0.5, 0), (-1,)])
def test_refuses_scales(scales):
    with pytest.raises(ValueError, match="scales must be positive factors, at least one"):
        MultiScaleBackbone(RESNET, scales=scales)
