"""RefineNetHead and its light-weight form: variants, counts, loss, dropout, refusals."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_papers.models.decode_heads import LightWeightRefineNetHead, RefineNetHead
from tests.data.reference import fill
from tests.reference import Case

SMALL = dict(in_channels=(4, 6, 8, 10), channels=(4, 4, 4, 6), num_classes=5)
MOBILE = dict(
    in_channels=(24, 32, 64, 96, 160, 320),
    channels=(256,) * 6,
    cascade=(1, 2, 3, 3, 4, 4),
    path_fusion=False,
    relu6=True,
    dropout_ratio=0,
)


def levels(size=(33, 47), channels=(4, 6, 8, 10)):
    maps = []
    for c in channels:
        maps.append(torch.rand(2, c, *size))
        size = tuple((length + 1) // 2 for length in size)
    return maps


def millions(head):
    return round(sum(p.numel() for p in head.parameters()) / 1e6, 2)


def test_parameters_of_the_published_decoders():
    with torch.device("meta"):
        assert millions(RefineNetHead(num_classes=21)) == 75.55
        assert millions(LightWeightRefineNetHead(num_classes=21)) == 3.85


@pytest.mark.parametrize(
    ("head", "size", "giga"),
    [(RefineNetHead, (512, 512), 222.2), (LightWeightRefineNetHead, (512, 512), 10.6)],
)
def test_multiply_adds_of_the_published_decoders(head, size, giga):
    """Of the convs as published, each at its own map's size."""
    with torch.device("meta"):
        head = head(num_classes=21).eval()
    total = 0
    for name, conv in head.named_modules():
        if isinstance(conv, nn.Conv2d):
            index = int(name.split(".")[1]) if name != "conv_seg" else 0
            stride = 4 * 2**index
            total += conv.weight.numel() * (size[0] // stride) * (size[1] // stride)
    assert round(total / 1e9, 1) == giga


@pytest.mark.parametrize(
    ("options", "blocks"),
    [
        (dict(cascade="single"), 1),
        (dict(cascade="2-cascaded"), 2),
        (dict(cascade="4-cascaded"), 4),
        (dict(cascade=(1, 2, 2, 3)), 3),
        (dict(num_output_units=1, num_final_units=2, num_pool_stages=2), 4),
        (dict(pool_first=False, fusion_mode="bicubic"), 4),
    ],
)
def test_variants(options, blocks):
    head = RefineNetHead(**SMALL, **options)
    assert len(head.blocks) == blocks
    y = head(levels())
    assert y.shape == (2, 5, 33, 47)
    y.mean().backward()
    assert all(p.grad is not None for p in head.parameters())


def test_two_scales():
    head = RefineNetHead(**SMALL, num_scales=2)
    maps = [*levels((17, 24)), *levels((33, 47))]
    assert head(maps).shape == (2, 5, 33, 47)
    assert [len(head.paths), len(head.blocks)] == [8, 4]
    assert head.paths[3].fusion is not None, "two maps enter the first block"
    assert RefineNetHead(**SMALL).paths[3].fusion is None


def test_light_weight_on_mobile_net():
    head = LightWeightRefineNetHead(num_classes=21, **MOBILE).eval()
    sizes = [(33, 25), (17, 13), (9, 7), (9, 7), (5, 4), (5, 4)]
    maps = [torch.rand(1, c, *s) for c, s in zip(MOBILE["in_channels"], sizes, strict=True)]
    assert head(maps).shape == (1, 21, 33, 25)


def test_dropout_is_elementwise_and_on_the_two_coarsest_levels():
    head = RefineNetHead(**SMALL)
    seen = {}
    for i, path in enumerate(head.paths):
        path.register_forward_pre_hook(lambda _, args, i=i: seen.update({i: args[0]}))
    maps = [x + 1 for x in levels()]
    head.train()(maps)
    dropped = [(seen[i] == 0).float().mean().item() for i in range(4)]
    assert dropped[:2] == [0, 0]
    assert all(0.3 < share < 0.7 for share in dropped[2:])
    assert 0 < (seen[3][0, 0] == 0).float().mean() < 1, "not whole channels"
    assert type(head.dropout) is nn.Dropout
    head.eval()(maps)
    assert all(torch.equal(seen[i], maps[i]) for i in range(4))
    assert LightWeightRefineNetHead(**SMALL).dropout is None


def test_initialisation():
    head = RefineNetHead(num_classes=5, channels=(64,) * 4)
    head.init_weights()
    convs = [m for m in head.modules() if isinstance(m, nn.Conv2d)]
    assert all(abs(conv.weight.std() - 0.01) < 1e-3 for conv in convs)
    assert all((conv.bias == 0).all() for conv in convs if conv.bias is not None)


def test_loss_is_the_authors():
    case = Case.load("refinenet", "loss_at_feature_resolution")
    spec = case.spec["input"]
    noise = np.random.RandomState(spec["logits"]["seed"]).standard_normal(spec["logits"]["shape"])
    logits = (torch.from_numpy(noise.astype(np.float32)) * 2).requires_grad_()
    labels = fill.label_map(spec["labels"]["shape"], 5, spec["labels"]["seed"])
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=torch.from_numpy(label)[None])) for label in labels
    ]
    head = RefineNetHead(**SMALL, loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True))
    loss = head.loss_by_feat(logits, samples)["loss_ce"]
    (grad,) = torch.autograd.grad(loss, logits)
    small = nn.functional.interpolate(
        torch.from_numpy(labels).float()[:, None], logits.shape[2:], mode="nearest-exact"
    )
    case.assert_equal(dict(loss=loss, grad_logits=grad, labels_small=small[:, 0].long()))


@pytest.mark.parametrize("align_corners", [False, True])
def test_losses_at_the_labels_size(align_corners):
    logits = 3 * torch.randn(2, 5, 6, 8, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 5, (2, 1, 21, 30))
    labels[:, :, :4] = 255
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]

    def enlarged(x):
        return F.interpolate(x, (21, 30), mode="bilinear", align_corners=align_corners)

    expected = {
        "scores": F.cross_entropy(enlarged(logits), labels[:, 0], ignore_index=255),
        "probabilities": F.nll_loss(
            enlarged(logits.softmax(1)).log(), labels[:, 0], ignore_index=255
        ),
    }
    for resizes, theirs in expected.items():
        head = RefineNetHead(
            **SMALL,
            loss_resize=resizes,
            align_corners=align_corners,
            loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
        )
        ours = head.loss_by_feat(logits, samples)["loss_ce"]
        torch.testing.assert_close(ours, theirs)
        a, b = (torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (ours, theirs))
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match=r"loss_resize must be one of labels, .* got 'logits'"):
        RefineNetHead(**SMALL, loss_resize="logits")


@pytest.mark.parametrize(
    "options",
    [
        dict(num_classes=2, out_channels=1, threshold=0.5),
        dict(loss_decode=[dict(type="CrossEntropyLoss", use_sigmoid=True)]),
    ],
)
def test_probabilities_are_a_soft_max(options):
    with pytest.raises(ValueError, match="'probabilities' resizes a soft-max"):
        RefineNetHead(**{**SMALL, **options}, loss_resize="probabilities")


def test_a_certain_and_wrong_probability_costs_a_finite_loss():
    head = RefineNetHead(**SMALL, loss_resize="probabilities")
    logits = torch.zeros(1, 5, 6, 8)
    logits[:, 1] = 300
    logits.requires_grad_()
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 12, 16).long()))
    loss = head.loss_by_feat(logits, [sample])["loss_ce"]
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_loss_of_ignored_pixels_only_is_zero():
    head = RefineNetHead(**SMALL, loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True))
    ignored = torch.full((1, 24, 32), 255)
    sample = SegDataSample(gt_sem_seg=PixelData(data=ignored))
    assert head.loss_by_feat(torch.randn(1, 5, 6, 8), [sample])["loss_ce"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(cascade="3-cascaded"), r"cascade must be one of single.* got '3-cascaded'"),
        (dict(cascade=(4, 3, 2, 1)), r"finest level first, got \(4, 3, 2, 1\)"),
        (dict(cascade=(1, 1, 3, 3)), r"without gaps.* got \(1, 1, 3, 3\)"),
        (dict(in_channels=(4, 6, 8)), r"in_channels must have one value for each of the 4 levels"),
        (dict(channels=(4, 4, 4, 4, 6)), r"channels must have one value .* got \(4, 4, 4, 4, 6\)"),
        (dict(in_channels=256), r"in_channels must have one value .* got 256"),
        (dict(num_scales=2, in_index=(0, 1, 2, 3)), r"in_index must name 4 levels.*num_scales=2"),
        (dict(fusion_mode="nearest"), r"fusion_mode must be one of"),
        (dict(num_scales=0), r"num_scales must be at least 1, got 0"),
        (dict(num_pool_stages=-1), r"num_pool_stages must be at least 0, got -1"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        RefineNetHead(**{**SMALL, **options})


def test_refuses_maps_that_do_not_fit():
    head = RefineNetHead(**SMALL)
    maps = levels()
    with pytest.raises(ValueError, match="but the backbone has 3 maps"):
        head(maps[:3])
    with pytest.raises(
        ValueError, match=r"in_channels=\(4, 6, 8, 10\), but .*\(10, 8, 6, 4\) chan"
    ):
        head(maps[::-1])
    head.in_index = (-5, -3, -2, -1)
    with pytest.raises(ValueError, match=r"in_index=\(-5, -3, -2, -1\), but the backbone has 4 m"):
        head(maps)
    same = RefineNetHead((4,) * 4, (4,) * 4, num_classes=5)
    with pytest.raises(ValueError, match=r"finest level first, but .* sizes 5x6, 9x12"):
        same(levels(channels=(4,) * 4)[::-1])
