"""AtrousResNet: the paper's rates, one state dict for all output strides, and refusals."""

import warnings

import pytest
import torch
from mmseg.models.backbones import ResNet
from torch.nn import functional as F

from mmseg_papers.models.backbones import AtrousResNet
from mmseg_papers.models.backbones.atrous_resnet import SameMaxPool

BETA = dict(style="tensorflow", deep_stem=True, stem_channels=128)


def rates(net, block):
    return [unit.conv2.dilation[0] for unit in getattr(net, f"layer{block}")]


@pytest.mark.parametrize("style", ["pytorch", "tensorflow"])
def test_rates_of_the_cascade(style):
    """Unit rates (1, 2, 1) times 2, 4, 8, 16 at output stride 16, twice that at 8."""
    with torch.device("meta"):
        net = AtrousResNet(50, num_blocks=7, multi_grid=(1, 2, 1), style=style)
    assert [rates(net, b) for b in (4, 5, 6, 7)] == [[r, 2 * r, r] for r in (2, 4, 8, 16)]
    net.set_output_stride(8)
    assert rates(net, 3)[-1] == 2
    assert [rates(net, b) for b in (4, 5, 6, 7)] == [[r, 2 * r, r] for r in (4, 8, 16, 32)]
    net.set_output_stride(256)
    assert [rates(net, b) for b in (4, 5, 6, 7)] == [[1, 2, 1]] * 4


@pytest.mark.parametrize(
    ("output_stride", "stock"),
    [
        (16, dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), multi_grid=(2, 4, 8))),
        (8, dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))),
        (8, dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True)),
        (32, {}),
    ],
)
def test_equals_mmseg(output_stride, stock):
    """mmseg's multi_grid are the rates themselves; ours are factors."""
    theirs = ResNet(50, **stock)
    theirs.eval()  # returns None
    ours = AtrousResNet(
        50,
        output_stride=output_stride,
        multi_grid=(1, 2, 4) if "multi_grid" in stock else None,
        contract_dilation=stock.get("contract_dilation", False),
    ).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.rand(1, 3, 65, 50)
    with torch.no_grad():
        for a, b in zip(theirs(x), ours(x), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("options", [{}, BETA])
def test_one_state_dict_for_all_output_strides(options):
    net = AtrousResNet(18, num_blocks=5, **options).eval()
    keys = list(net.state_dict())
    x = torch.rand(1, 3, 65, 97)
    with torch.no_grad():
        for output_stride in (4, 8, 16, 32, 64):
            net.set_output_stride(output_stride)
            assert list(net.state_dict()) == keys
            maps = net(x)
            # In TensorFlow's style a block ends with its stride; the first map is taken before.
            nominal = (4, 16, 32, 64, 64) if options else (4, 8, 16, 32, 64)
            strides = [min(s, output_stride) for s in nominal]
            sizes = [(-(-65 // s), -(-97 // s)) for s in strides]
            assert [tuple(y.shape[2:]) for y in maps] == sizes


def test_added_blocks_start_as_the_identity_and_may_be_missing_from_a_file():
    torch.manual_seed(0)
    four = AtrousResNet(18).eval()
    six = AtrousResNet(18, num_blocks=6)
    six.init_weights()
    six.load_state_dict(four.state_dict(), strict=False)
    with torch.no_grad():
        maps = six.eval()(torch.rand(1, 3, 65, 97))
    torch.testing.assert_close(maps[5], maps[3])
    with pytest.raises(RuntimeError, match=r"layer5\.0\.conv1\.weight"):
        six.load_state_dict(four.state_dict(), strict=True)
    part = {k: v for k, v in six.state_dict().items() if not k.startswith("layer6.1.")}
    with pytest.raises(RuntimeError, match=r"nothing was loaded.*layer6\.1\."):
        six.load_state_dict(part, strict=False)


def test_refuses_weights_of_another_depth():
    with pytest.raises(RuntimeError, match="do not fit this AtrousResNet; nothing was loaded"):
        AtrousResNet(34).load_state_dict(AtrousResNet(18).state_dict(), strict=False)


def test_tap_is_the_residual_before_it_is_added():
    net = AtrousResNet(18, **BETA).eval()
    with torch.no_grad():
        tap = net(torch.rand(1, 3, 33, 33))[0]
    assert (tap < 0).any()


@pytest.mark.parametrize("size", [(7, 9), (8, 10), (7, 10), (1, 2)])
def test_max_pool_pads_as_tensorflow(size):
    x = torch.randn(1, 2, *size)
    padding = [p for side in reversed(size) for p in (side % 2, 1)]
    expected = F.max_pool2d(F.pad(x, padding, value=-torch.inf), 3, 2)
    torch.testing.assert_close(SameMaxPool()(x), expected)


def test_parameter_and_mac_counts_of_the_trunks():
    with torch.device("meta"):
        counts = {
            (depth, blocks): sum(
                p.numel() for p in AtrousResNet(depth, num_blocks=blocks, **BETA).parameters()
            )
            for depth in (50, 101)
            for blocks in (4, 7)
        }
    classifier = 2048 * 21 + 21
    assert round((counts[50, 7] + classifier) / 1e6, 2) == 63.84
    assert round((counts[101, 7] - counts[50, 7]) / 1e6, 2) == 18.99


def test_warns_while_training_on_maps_too_small_for_the_cascade():
    net = AtrousResNet(18, num_blocks=5, output_stride=8, base_channels=4, stem_channels=4)
    with pytest.warns(UserWarning, match=r"rates \[8\] a 3x3 conv on a map of 8 x 9 sees only pad"):
        net.train()(torch.rand(2, 3, 64, 72))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        net(torch.rand(2, 3, 72, 72))
        net.eval()(torch.rand(2, 3, 64, 72))


def test_trains_and_keeps_frozen_parts():
    net = AtrousResNet(18, frozen_stages=1, norm_eval=True)
    assert net.train() is net
    assert not net.layer4[0].bn1.training
    net = AtrousResNet(18, with_cp=True).train()
    sum(y.square().mean() for y in net(torch.rand(2, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(depth=60), "depth must be one of 18, 34, 50, 101, 152, got 60"),
        (dict(num_blocks=8), "num_blocks must be 4, 5, 6 or 7, got 8"),
        (dict(output_stride=64), "output_stride must be one of 4, 8, 16, 32, got 64"),
        (dict(output_stride=12), "output_stride must be one of 4, 8, 16, 32, got 12"),
        (dict(multi_grid=(1, 2)), r"multi_grid must be the 3 unit rates .* got \(1, 2\)"),
        (dict(style="caffe"), "style must be one of pytorch, tensorflow, got 'caffe'"),
        (dict(multi_grid=(1, 2, 1), contract_dilation=True), "contract_dilation must be False"),
        (dict(avg_down=True), "avg_down must be False"),
        (dict(num_blocks=5, plugins=[dict()]), "plugins need .*num_blocks=4, or PluginResNetV1c"),
        (dict(frozen_stages=5), "frozen_stages must be -1 to 4, got 5"),
        (dict(out_indices=(0, 4)), r"out_indices must be of 0 to 3 .* got \(0, 4\)"),
    ],
)
def test_refuses_options(options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        AtrousResNet(**{"depth": 50, **options})
