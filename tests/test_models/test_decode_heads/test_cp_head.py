"""CPHead: its sizes, its streamed forms, its losses in the segmentor, and what it refuses."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_papers import ops
from mmseg_papers.apis.configs import packaged_configs
from mmseg_papers.models.decode_heads import CPHead
from mmseg_papers.models.layers import ASPP
from mmseg_papers.models.losses import AffinityLoss, label_of_positions

LAYOUTS = [torch.contiguous_format, torch.channels_last]
SIZE = (4, 6)


def head(**options):
    return CPHead(
        **{
            "in_channels": 8,
            "channels": 6,
            "prior_channels": 4,
            "prior_size": SIZE,
            "am_kernel_size": 3,
            "num_classes": 5,
            "in_index": 0,
            "norm_cfg": dict(type="BN"),
            "dropout_ratio": 0,
            **options,
        }
    )


def unsettled(module):
    """Norms whose statistics and parameters are not those of a new one."""
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(norm.running_mean, std=0.1)
            torch.nn.init.uniform_(norm.running_var, 0.5, 2)
            torch.nn.init.normal_(norm.weight, 1, 0.1)
            torch.nn.init.normal_(norm.bias, std=0.1)
    return module


def samples(batch=2, size=(32, 48), classes=5):
    label = torch.randint(0, classes, (batch, 1, size[0] // 8, size[1] // 8))
    label = label.repeat_interleave(8, 2).repeat_interleave(8, 3)
    label[:, :, :8, :16] = 255
    meta = dict(img_shape=size, ori_shape=size, pad_shape=size)
    return [SegDataSample(gt_sem_seg=PixelData(data=y), metainfo=meta) for y in label]


@pytest.mark.parametrize("is_streamed", [False, True])
def test_contexts_as_in_the_papers_text(is_streamed):
    net = unsettled(head(mean_context=False, context_convs=False)).eval()
    x = torch.randn(2, 8, *SIZE)
    _, prior = net.forward_with_prior((x,))
    value = net.aggregation(x)
    of_positions = value.flatten(2)
    contexts = [(of_positions @ p.transpose(1, 2)).view_as(value) for p in (prior, 1 - prior)]
    expected = net.cls_seg(net.bottleneck(torch.cat([x, *contexts], dim=1)))
    with torch.set_grad_enabled(not is_streamed):
        torch.testing.assert_close(net((x,)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("memory_format", LAYOUTS)
def test_inference_streams_and_equals_the_whole_prior(groups, memory_format, monkeypatch):
    calls = []
    module = "mmseg_papers.models.decode_heads.cp_head.context_prior"
    monkeypatch.setattr(module, lambda *args: calls.append(1) or ops.context_prior(*args))
    model = unsettled(head(groups=groups)).eval()
    x = torch.randn(2, 8, *SIZE).to(memory_format=memory_format)
    with torch.no_grad():
        streamed = model([x])
        whole, prior = model.forward_with_prior([x])
    assert calls == [1]
    torch.testing.assert_close(streamed, whole)
    torch.testing.assert_close(model([x]), whole)  # with gradients: not streamed
    assert calls == [1]
    assert prior.shape == (2, 24, 24)
    value = model.aggregation(x)
    torch.testing.assert_close(prior.transpose(1, 2), model.prior_conv(value).sigmoid().flatten(2))


def test_both_contexts_are_the_papers():
    """P V / N and (1 - P) V / N as the authors' code has them, for P by query and key."""
    model = unsettled(head()).eval()
    x = torch.randn(1, 8, *SIZE)
    found = {}
    for name in ("intra_conv", "inter_conv"):
        getattr(model, name).register_forward_hook(
            lambda _, xs, __, n=name: found.update({n: xs[0].flatten(2)[0].T})
        )
    _, prior = model.forward_with_prior([x])
    value = model.aggregation(x).flatten(2)[0].T
    torch.testing.assert_close(found["intra_conv"], prior[0] @ value / 24)
    torch.testing.assert_close(found["inter_conv"], (1 - prior[0]) @ value / 24)


@pytest.mark.parametrize("part", ["", "conv", "norm"])
def test_hooked_layers_are_called(part):
    model, x, seen = head(stream_training=True), torch.randn(2, 8, *SIZE), []
    model.prior_conv.get_submodule(part).register_forward_hook(lambda *_: seen.append(part))
    model.loss([x], samples(), {})
    with torch.no_grad():
        model.eval()([x])
    assert seen == [part, part]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("count_self", [False, True])
def test_streamed_training_equals_the_whole_prior(
    groups, memory_format, frozen, momentum, count_self
):
    options = dict(
        groups=groups, loss_prior_decode=dict(type="AffinityLoss", count_self=count_self)
    )
    plain = unsettled(head(**options)).double()
    plain.prior_conv.norm.momentum = momentum
    streamed = head(**options, stream_training=True).double()
    streamed.load_state_dict(plain.state_dict(), strict=True)
    streamed.prior_conv.norm.momentum = momentum
    x, labels = torch.randn(3, 8, *SIZE, dtype=torch.float64), samples(3)
    results = []
    for model in (plain, streamed):
        model.train()
        model.prior_conv.norm.train(not frozen)
        features = x.clone().contiguous(memory_format=memory_format).requires_grad_()
        losses = model.loss([features], labels, {})
        (losses["loss_ce"] + losses["loss_prior"]).backward()
        results.append(
            {
                **{k: v.detach() for k, v in losses.items()},
                "input": features.grad,
                **{k: p.grad for k, p in model.named_parameters()},
                **dict(model.named_buffers()),
            }
        )
    a, b = results
    assert a.keys() == b.keys()
    for name, expected in a.items():
        torch.testing.assert_close(b[name], expected, rtol=1e-8, atol=1e-10, msg=name)


def test_gradients_of_the_prior_loss_reach_the_input():
    model, x = head(), torch.randn(2, 8, *SIZE, requires_grad=True)
    model.loss([x], samples(), {})["loss_prior"].backward()
    assert x.grad.abs().max() > 0


def test_trains_one_image_a_process_with_ignored_pixels():
    losses = head().loss([torch.randn(1, 8, *SIZE)], samples(1), {})
    assert torch.isfinite(losses["loss_prior"])
    assert losses["loss_prior"] > 0


def test_ignored_pixels_are_a_class():
    model, x, labels = head().eval(), torch.randn(1, 8, *SIZE), samples(1)
    found = model.loss([x], labels, {})["loss_prior"]
    positions = label_of_positions(labels[0].gt_sem_seg.data[None], SIZE)
    assert (positions == 255).any()
    prior = model.prior_conv(model.aggregation(x))
    torch.testing.assert_close(found, AffinityLoss()(prior, positions))


def test_mixed_precision():
    model = head()
    expected = model.loss([torch.ones(2, 8, *SIZE)], samples(), {})
    for streams in (False, True):
        copy = deepcopy(model)
        copy.stream_training = streams
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = copy.loss([torch.randn(2, 8, *SIZE)], samples(), {})
        (losses["loss_ce"] + losses["loss_prior"]).backward()
        assert losses["loss_prior"].dtype == expected["loss_prior"].dtype == torch.float32
        assert all(torch.isfinite(p.grad).all() for p in copy.parameters())


def segmentor(kind="FusedEncoderDecoder", **options):
    return MODELS.build(
        dict(
            type=kind,
            data_preprocessor=dict(
                type="SegDataPreProcessor", size=(32, 48), test_cfg=dict(size=(32, 48))
            ),
            backbone=dict(type="ResNetV1c", depth=18, base_channels=4, stem_channels=4,
                          dilations=(1, 1, 2, 4), strides=(1, 2, 1, 1), contract_dilation=True),
            decode_head=dict(
                type="CPHead", in_channels=32, channels=6, prior_channels=4, prior_size=SIZE,
                am_kernel_size=3, num_classes=5, in_index=3, norm_cfg=dict(type="BN"),
                dropout_ratio=0, **options,
            ),
            test_cfg=dict(mode="slide", crop_size=(32, 48), stride=(21, 32)),
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    "options", [{}, dict(sampler=dict(type="OHEMPixelSampler", thresh=0.7, min_kept=100))]
)
@pytest.mark.parametrize("streams", [False, True])
def test_fused_segmentor_gives_the_losses_of_mmsegs(options, streams):
    fused = segmentor(stream_training=streams, **options)
    plain = segmentor("EncoderDecoder", **options)
    plain.load_state_dict(fused.state_dict(), strict=True)
    x, labels = torch.randn(2, 3, 32, 48), samples()
    a, b = (model.train()(x, labels, mode="loss") for model in (fused, plain))
    assert a.keys() == b.keys() == {"decode.loss_ce", "decode.acc_seg", "decode.loss_prior"}
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(32, 48), (20, 75), (90, 30), (16, 16), (50, 70)])
def test_any_image_goes_through_windows_of_the_crop(size):
    """mmseg does not pad windows of small images; the preprocessor's test size does."""
    model = segmentor().eval()
    sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))
    data = dict(inputs=[torch.randint(0, 255, (3, *size))], data_samples=[sample])
    result = model.test_step(data)[0]
    assert result.pred_sem_seg.data.shape == (1, *size)
    # The same as with the image padded and the result cut by hand.
    padded = F.pad(data["inputs"][0].float(), (0, max(48 - size[1], 0), 0, max(32 - size[0], 0)))[
        None
    ]
    with torch.no_grad():
        expected = model.slide_inference(padded, [{}])[0, :, : size[0], : size[1]]
    torch.testing.assert_close(result.seg_logits.data, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["tensor", "predict", "loss"])
def test_refuses_another_size_with_the_cure(mode):
    model = segmentor()
    model.test_cfg.update(mode="whole")
    message = (
        r"map is \(5, 8\), but prior_size=\(4, 6\) fits crops of \(32, 48\) at stride 8 only.*"
        r"mode='slide', crop_size=\(32, 48\).*data_preprocessor=dict\(size=\(32, 48\), test_cfg"
    )
    with pytest.raises(ValueError, match=message):
        model(torch.randn(2, 3, 40, 64), samples(size=(40, 64)), mode=mode)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(prior_size=(4, 6, 2)), r"prior_size must be .* got \(4, 6, 2\)"),
        (dict(prior_size=(0, 6)), r"prior_size must be .* got \(0, 6\)"),
        (dict(prior_size=4.5), r"prior_size must be .* got 4\.5"),
        (dict(groups=3), r"groups must divide prior_channels=4 and the 24 positions .* got 3"),
        (dict(groups=0), r"groups must divide .* got 0"),
        (dict(am_kernel_size=4), r"kernel_size .* odd.* got 4"),
        (dict(norm_cfg=None), "norm_cfg must name a norm layer"),
        (dict(size_policy="crop"), "size_policy must be one of refuse, resample, got 'crop'"),
        (dict(contexts=()), r"contexts must be \('intra',\), \('inter',\) or both, got \(\)"),
        (dict(contexts="intra"), r"contexts must be \('intra',\), .* got 'intra'"),
        (dict(contexts=("inter", "intra")), r"contexts must be .* got \('inter', 'intra'\)"),
        (dict(aggregation=dict(type=7)), "aggregation must be a dict .* got {'type': 7}"),
        (dict(aggregation=dict(type="ReLU")), "aggregation must be a dict .* got {'type': 'ReLU'}"),
        (dict(aggregation=dict(type="Aspp")), "aggregation must be a dict .* got {'type': 'Aspp'}"),
        (
            dict(aggregation=dict(output_stride=8)),
            "aggregation must be .* got {'output_stride': 8}",
        ),
        (dict(aggregation="ASPP"), "aggregation must be a dict .* got 'ASPP'"),
        (
            dict(aggregation=dict(type=ASPP, channels=7)),
            "gets its channels from the head.* channels",
        ),
        (dict(aggregation=dict(type=ASPP), norm_cfg=None), "norm_cfg must name a norm layer"),
        (
            dict(stream_training=True, norm_cfg=dict(type="GN", num_groups=2)),
            "norm_cfg must be affine batch normalisation .*GN",
        ),
        (
            dict(stream_training=True, loss_prior_decode=dict(type="CrossEntropyLoss")),
            "must be AffinityLoss with stream_training=True, got CrossEntropyLoss",
        ),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        head(**options)


@pytest.mark.parametrize("size", [(7, 5), (4, 12), SIZE])
@pytest.mark.parametrize("values_at_a_time", [1, 1 << 24])
@pytest.mark.parametrize("norm_cfg", [dict(type="BN"), dict(type="GN", num_groups=2)])
def test_a_prior_is_resampled_for_other_sizes(size, values_at_a_time, norm_cfg, monkeypatch):
    module = "mmseg_papers.models.decode_heads.cp_head.VALUES_AT_A_TIME"
    monkeypatch.setattr(module, values_at_a_time)
    model = unsettled(head(size_policy="resample", norm_cfg=norm_cfg)).eval()
    x = torch.randn(2, 8, *size)
    value = model.aggregation(x)
    keys = F.interpolate(value, SIZE, mode="bilinear")
    prior = model.prior_conv(value).sigmoid().flatten(2)  # keys of the prior, queries of the map
    contexts = [(keys.flatten(2) @ p / 24).view_as(value) for p in (prior, 1 - prior)]
    maps = [x, model.intra_conv(contexts[0]), model.inter_conv(contexts[1])]
    expected = model.cls_seg(model.bottleneck(torch.cat(maps, dim=1)))
    with torch.no_grad():
        torch.testing.assert_close(model([x]), expected)
    if size != SIZE:
        with pytest.raises(ValueError, match=r"map is .*size_policy='resample'"):
            model.train()([x])


def test_other_norms_are_not_streamed():
    model = head(norm_cfg=dict(type="GN", num_groups=2)).eval()
    x = torch.randn(1, 8, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(model([x]), model.forward_with_prior([x])[0])


def test_the_prior_on_another_aggregation():
    """The paper's ablation has it on ASPP and on PSPNet's pooling."""
    layer = dict(type="mmseg_papers.models.layers.ASPP", rates=(6, 12), output_stride=8)
    model = unsettled(head(aggregation=layer)).eval()
    assert isinstance(model.aggregation, ASPP)
    assert model.aggregation.scaled_rates == (12, 24)
    x = torch.randn(2, 8, *SIZE)
    found, prior = model.forward_with_prior([x])
    value = model.aggregation(x)
    assert value.shape == (2, 4, *SIZE)
    torch.testing.assert_close(prior.transpose(1, 2), model.prior_conv(value).sigmoid().flatten(2))
    with torch.no_grad():
        torch.testing.assert_close(model([x]), found)
    model.train().loss([x], samples(), {})["loss_prior"].backward()
    assert model.aggregation.bottleneck.conv.weight.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["intra", "inter"])
def test_one_context_alone(name):
    both, one = unsettled(head()).eval(), head(contexts=(name,)).eval()
    channels = [*range(8), *(range(8, 12) if name == "intra" else range(12, 16))]
    weights = {k: v for k, v in both.state_dict().items() if k in one.state_dict()}
    weights["bottleneck.conv.weight"] = weights["bottleneck.conv.weight"][:, channels]
    one.load_state_dict(weights, strict=True)
    x = torch.randn(1, 8, *SIZE)
    other = "inter" if name == "intra" else "intra"
    both.get_submodule(f"{other}_conv").register_forward_hook(lambda *_: torch.zeros(1, 4, *SIZE))
    with torch.no_grad():
        torch.testing.assert_close(one([x]), both([x]))
    assert not hasattr(one, f"{other}_conv")


def test_pyramid_pooling_under_the_prior():
    layer = dict(type="mmseg_papers.models.layers.PyramidPooling", pool_scales=(1, 2))
    model = head(aggregation=layer)
    assert model.aggregation.bottleneck.conv.weight.shape[:2] == (4, 8 + 2 * 4)
    layer, x = unsettled(model.aggregation).eval(), torch.randn(2, 8, *SIZE)
    maps = [x]
    for branch, side in zip(layer.pyramid, (1, 2), strict=True):
        pooled = branch[1](F.adaptive_avg_pool2d(x, side))
        maps.append(F.interpolate(pooled, SIZE, mode="bilinear"))
    torch.testing.assert_close(layer(x), layer.bottleneck(torch.cat(maps, dim=1)))
    model.train().loss([x], samples(), {})["loss_prior"].backward()
    assert layer.pyramid[1][1].conv.weight.grad.abs().max() > 0


def test_an_aggregation_of_another_shape_is_named():
    model = head(aggregation=dict(type=ASPP, rates=(6,), bottleneck_kernel=None))
    message = r"aggregation \(ASPP\) must keep .* give prior_channels=4, got \(2, 12, 4, 6\)"
    with pytest.raises(ValueError, match=message):
        model([torch.randn(2, 8, *SIZE)])


def test_one_number_is_a_square():
    assert head(prior_size=4).prior_size == (4, 4)


@pytest.mark.parametrize(
    ("depth", "crop", "classes", "backbone", "of_head"),
    [(50, 480, 150, 88.7, 107.1), (101, 480, 150, 156.9, 107.1), (101, 768, 19, 401.6, 353.0)],
)
def test_multiply_adds(depth, crop, classes, backbone, of_head):
    """G multiply-adds of one crop as counted from the formulas, with the original's two gathers."""
    norm = dict(type="BN")
    with torch.device("meta"):
        trunk = MODELS.build(
            dict(type="ResNetV1c", depth=depth, dilations=(1, 1, 2, 4), strides=(1, 2, 1, 1),
                 contract_dilation=True, norm_cfg=norm)
        )  # fmt: skip
        cp_head = CPHead(2048, prior_size=crop // 8, num_classes=classes, in_index=3, norm_cfg=norm)
    counts = {trunk: 0, cp_head: 0}

    def count(conv, _, y, of):
        counts[of] += conv.weight.numel() * y.shape[2] * y.shape[3]

    for part in counts:
        for conv in part.modules():
            if isinstance(conv, torch.nn.Conv2d):
                conv.register_forward_hook(lambda *args, of=part: count(*args, of))
    cp_head(trunk(torch.empty(1, 3, crop, crop, device="meta")))
    gathers = 2 * 512 * (crop // 8) ** 4
    assert counts[trunk] / 1e9 == pytest.approx(backbone, abs=0.05)
    assert (counts[cp_head] + gathers) / 1e9 == pytest.approx(of_head, abs=0.1)


@pytest.mark.torch_2_7
@pytest.mark.parametrize("grad", [False, True])
def test_an_exported_head_holds_stock_operators_only(grad):
    model = unsettled(head(in_channels=8)).eval()
    features = torch.randn(1, 8, *SIZE)
    with torch.set_grad_enabled(grad):
        program = torch.export.export(model, ([features],))
        targets = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
        assert not [t for t in targets if "mmseg_papers" in t]
        torch.testing.assert_close(program.module()([features]), model([features]))


CONFIGS = [name for name in packaged_configs() if name.startswith("cpnet")]


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_tie_prior_windows_and_padding_to_the_crop(name):
    config = Config.fromfile(packaged_configs()[name])
    crop, model = tuple(config.crop_size), config.model
    assert tuple(model.decode_head.prior_size) == tuple(-(-side // 8) for side in crop)
    assert model.test_cfg.mode == "slide"
    assert tuple(model.test_cfg.crop_size) == crop
    assert all(0 < s <= c for s, c in zip(model.test_cfg.stride, crop, strict=True))
    assert tuple(model.data_preprocessor.size) == crop
    assert tuple(model.data_preprocessor.test_cfg.size) == crop
    crops = [step for step in config.train_dataloader.dataset.pipeline if "crop_size" in step]
    assert [tuple(step.crop_size) for step in crops] == [crop]


def test_a_pass_before_the_streamed_loss_can_be_differentiated():
    """As for consistency losses: the running statistics change between the passes."""
    model = head(stream_training=True).train()
    x = [torch.randn(2, 8, *SIZE, requires_grad=True)]
    logits = model(x)
    losses = model.loss(x, samples(), None)
    (logits.sum() + sum(v for k, v in losses.items() if "loss" in k)).backward()
    assert torch.isfinite(x[0].grad).all()
