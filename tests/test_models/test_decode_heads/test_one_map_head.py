"""Heads of one map read several of a backbone's with ``input_transform='resize_concat'``."""

import re
import shutil
import warnings
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from torch import nn

import mmseg_papers.models  # noqa: F401

GUIDE = Path(__file__).parents[3] / "docs" / "existing_project.md"
HEADS = {
    "CPHead": dict(channels=4, prior_channels=4, prior_size=(8, 10)),
    "DeepLabV3Head": dict(channels=8),
    "DeepLabV3PlusHead": dict(channels=8, c1_in_channels=10),
    "DenseASPPHead": dict(bottleneck_channels=4, growth_channels=4),
    "PlainDeepLabV3PlusHead": dict(channels=8, c1_in_channels=10),
    "SPHead": dict(channels=8),
}
JOINS = dict(in_channels=[10, 6], in_index=[0, 2], input_transform="resize_concat")
every_head = pytest.mark.parametrize("kind", HEADS)


def options_of(kind, **options):
    return dict(type=kind, num_classes=5, norm_cfg=dict(type="BN"), **HEADS[kind], **options)


def head(kind, **options):
    torch.manual_seed(0)
    return MODELS.build(options_of(kind, **options)).eval()


def maps():
    torch.manual_seed(1)
    shapes = [(2, 10, 8, 10), (2, 3, 4, 5), (2, 6, 4, 5)]
    return [torch.randn(shape) for shape in shapes]


@every_head
def test_equals_the_joined_map(kind):
    first, second, third = maps()
    joins = head(kind, **JOINS)
    resized = F.interpolate(
        third, first.shape[2:], mode="bilinear", align_corners=joins.align_corners
    )
    reads_one = head(kind, in_channels=16, in_index=2)
    reads_one.load_state_dict(joins.state_dict())
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of mmseg's resize
        expected = reads_one([first, second, torch.cat([first, resized], dim=1)])
        torch.testing.assert_close(joins([first, second, third]), expected)


@every_head
def test_names_maps_that_do_not_fit(kind):
    first, second, _ = maps()
    joins = head(kind, **JOINS)
    with pytest.raises(ValueError, match=rf"{kind}.in_index=\(0, 2\), but .* has 2 maps"):
        joins([first, second])
    with pytest.raises(ValueError, match=rf"{kind}.in_channels=\(10, 6\), but .* \(10, 3\)"):
        joins([first, first, second])


class Maps(nn.Module):
    """A backbone whose maps are of strides 1 and 2."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 10, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 6, 1)])

    def forward(self, x):
        return [self.convs[0](x), *(conv(x[:, :, ::2, ::2]) for conv in self.convs[1:])]


@pytest.fixture
def backbone(monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, "Maps", Maps)
    return dict(type="Maps")


@pytest.mark.parametrize("segmentor", ["EncoderDecoder", "FusedEncoderDecoder"])
@every_head
def test_in_a_segmentor(kind, segmentor, backbone):
    config = dict(type=segmentor, backbone=backbone, test_cfg=Config(dict(mode="whole")))
    model = MODELS.build(dict(config, decode_head=options_of(kind, **JOINS))).eval()
    assert isinstance(model, EncoderDecoder)
    assert model(torch.rand(1, 3, 8, 10)).shape == (1, 5, 8, 10)
    others = dict(JOINS, in_channels=[10, 22])
    model = MODELS.build(dict(config, decode_head=options_of(kind, **others)))
    name = "decode_head" if segmentor == "FusedEncoderDecoder" else kind
    with pytest.raises(ValueError, match=rf"{name}\.in_channels=.*10, 6"):
        model(torch.rand(2, 3, 8, 10))


@pytest.mark.parametrize("kind", [kind for kind in HEADS if kind != "CPHead"])  # of one size
def test_exports_for_every_size(kind):
    net = nn.Sequential(Maps(), head(kind, **JOINS)).eval()
    sides = {2: 2 * torch.export.Dim("height", min=2), 3: 2 * torch.export.Dim("width", min=2)}
    exported = torch.export.export(net, (torch.rand(1, 3, 16, 20),), dynamic_shapes=(sides,))
    x = torch.rand(1, 3, 26, 12)
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(x), net(x))


@every_head
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(JOINS, input_transform="multiple_select"), "input_transform must be None or"),
        (dict(JOINS, input_transform=None), r"in_channels must be .*, got \[10, 6\]"),
        (dict(JOINS, in_channels=16), r"in_index must be .*, got \[0, 2\]"),
        (dict(JOINS, in_channels=[]), r"in_channels must be .*, got \[\]"),
        (dict(JOINS, in_channels=["10", "6"]), "in_channels must be .*, got .*10"),
        (dict(JOINS, in_channels=None), "in_channels must be .*, got None"),
        (dict(JOINS, in_index=0), "in_index must be .*, got 0"),
        (dict(JOINS, in_index=[0, 1, 2]), r"in_index must be .*, got \[0, 1, 2\]"),
        (dict(in_channels=16, in_index=[0]), r"in_index must be .*, got \[0\]"),
        (dict(in_channels=16, input_transform="resize_concat"), "in_index must be .*, got"),
    ],
)
def test_refuses_options_that_do_not_fit(kind, options, message):
    with pytest.raises(ValueError, match=message):
        head(kind, **options)


@every_head
def test_numbers_of_numpy(kind):
    assert head(kind, in_channels=np.int64(16)).in_channels == 16


@every_head
def test_a_project_may_make_the_map(kind):
    plain = head(kind, in_channels=16, in_index=1)

    class Projects(type(plain)):
        def _transform_inputs(self, inputs):
            return super()._transform_inputs(inputs).neg()

    options = options_of(kind, in_channels=16, in_index=1)
    options.pop("type")
    projects = Projects(**options).eval()
    projects.load_state_dict(plain.state_dict())
    low_level, x = torch.randn(2, 10, 8, 10), torch.randn(2, 16, 8, 10)
    with torch.no_grad():
        torch.testing.assert_close(projects([low_level, x]), plain([low_level, -x]))


def test_the_guides_example(tmp_path):
    (code,) = [
        code
        for code in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        if "resize_concat" in code
    ]
    shutil.copytree(Path(mmseg.__path__[0]) / ".mim" / "configs", tmp_path / "configs")
    config = tmp_path / "configs" / "hrnet" / "mine.py"
    config.write_text(code)
    model = Config.fromfile(config).model
    model.pretrained = None
    model = revert_sync_batchnorm(MODELS.build(model)).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, 32, 64)).shape == (1, 19, 8, 16)
