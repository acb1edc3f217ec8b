"""Layers by configuration: compiled ones where mmcv has them, else a clear error."""

import sys

import pytest
import torch
import torch.distributed as dist
from mmengine.registry import MODELS as ROOT
from mmseg.registry import MODELS

from mmseg_papers.models.backbones import HighResolutionNet

HRNET = dict(type="HighResolutionNet", arch="w18_small_v1")


def forward(**options):
    net = HighResolutionNet(arch="w18_small_v1", **options).eval()
    with torch.no_grad():
        return net(torch.rand(1, 3, 65, 96))


def test_a_registered_layer_upsamples_in_the_fusions():
    torch.manual_seed(0)
    plain = forward(upsample_mode="nearest")
    torch.manual_seed(0)
    for a, b in zip(plain, forward(upsample_cfg=dict(type="nearest")), strict=True):
        assert a.shape == b.shape
    net = HighResolutionNet(
        arch="w18_small_v1", upsample_cfg=dict(type="pixel_shuffle", upsample_kernel=3)
    )
    assert net.stage2[0].fuse_layers[0][1][2].scale_factor == 2
    sum(y.mean() for y in net(torch.rand(2, 3, 64, 64))).backward()
    assert net.stage4[0].fuse_layers[0][3][2].upsample_conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("layer", ["deconv", "no_such_layer"])
def test_refuses_layers_without_a_scale(layer):
    with pytest.raises(ValueError, match=rf"takes a scale_factor.*got '{layer}'"):
        HighResolutionNet(arch="w18_small_v1", upsample_cfg=dict(type=layer))


@pytest.mark.parametrize(
    ("backbone", "layer"),
    [
        (dict(HRNET, upsample_cfg=dict(type="carafe")), "carafe"),
        (dict(HRNET, conv_cfg=dict(type="DCNv2", deform_groups=1)), "DCNv2"),
        (dict(type="LightWeightMobileNetV2", norm_cfg=dict(type="MMSyncBN")), "MMSyncBN"),
        (
            dict(
                type="ResNet",
                depth=50,
                dcn=dict(type="DCN", deform_groups=1),
                stage_with_dcn=(False, False, False, True),
            ),
            "DCN",
        ),
    ],
)
def test_says_how_to_get_compiled_operations(backbone, layer, monkeypatch):
    monkeypatch.setitem(sys.modules, "mmcv.ops", None)  # importing it raises ImportError
    monkeypatch.delitem(ROOT.module_dict, layer, raising=False)
    head = dict(type="FCNHead", in_channels=4, channels=4, num_classes=2)
    with pytest.raises(ImportError, match=rf"{layer} is one of .*pip install --no-build-isolation"):
        MODELS.build(
            dict(
                type="FusedEncoderDecoder",
                backbone=backbone,
                decode_head=head,
                test_cfg=dict(mode="whole"),
            )
        )


@pytest.mark.parametrize("backbone", [HRNET, dict(type="PluginResNetV1c", depth=50)])
def test_says_so_without_a_segmentor_of_ours(backbone, monkeypatch):
    monkeypatch.setitem(sys.modules, "mmcv.ops", None)
    with pytest.raises(ImportError, match=r"MMSyncBN is one of .*pip install"):
        MODELS.build(dict(backbone, norm_cfg=dict(type="MMSyncBN")))


@pytest.mark.compiled_mmcv
@pytest.mark.parametrize("layer", ["DCN", "DCNv2"])
def test_deformable_convolutions_run(layer):
    streams = forward(conv_cfg=dict(type=layer, deform_groups=1))
    assert [y.shape[1] for y in streams] == [16, 32, 64, 128]


@pytest.fixture
def process_group():
    """MMSyncBN asks for one when it is built."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.compiled_mmcv
@pytest.mark.parametrize(
    "option", [dict(upsample_cfg=dict(type="carafe")), dict(norm_cfg=dict(type="MMSyncBN"))]
)
def test_cuda_operations_build(option, process_group):
    HighResolutionNet(arch="w18_small_v1", **option)
