"""Height attention by module names: where it gates, what it passes on, what it refuses."""

import copy
import pickle

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from mmseg.registry import MODELS

from mmseg_papers.models.layers.height_attention import position_index, row_positions

from .tiny_models import OCR, auxiliary, head, images, labelled, model_config, with_meta

STEM = dict(source="backbone[0]", target="backbone.stage", low_channels=8, high_channels=12)
SELF = dict(source="backbone.stage", target="backbone.stage", low_channels=12, high_channels=12)
CONVS = dict(source="backbone.stage", target="decode_head.convs", low_channels=12, high_channels=8)
CLASSES = dict(
    source="decode_head.convs",
    target="decode_head.conv_seg",
    low_channels=8,
    high_channels=19,
    pooling="max",
)
CHAIN = [dict(STEM, source="backbone.stem"), CONVS, CLASSES]


def build(places, test_cfg=None, decode_head=None, **options):
    config = model_config(decode_head or head(), auxiliary(), test_cfg)
    is_cascade = config.type == "CascadeEncoderDecoder"
    config.type = f"HeightAttention{'Cascade' if is_cascade else ''}EncoderDecoder"
    config.height_attention = dict(places=places, reduction=4, **options)
    model = MODELS.build(ConfigDict(config))
    generator = torch.Generator().manual_seed(3)
    for parameter in model.height_attention.parameters():
        parameter.data.normal_(generator=generator)
    return model.eval()


def gate_by_hand(model, i, source, target, rows):
    """The target of place i by the layer itself."""
    layer = model.height_attention[i]
    whole = torch.arange(layer.coarse_height)[None]
    index = whole if rows is None else position_index(rows, layer.coarse_height)
    return layer(source, target, index)


def plain_forward(model, x, rows=None):
    """What the places of CHAIN compute, without hooks; changes the model."""
    for module in model.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    stem = model.backbone.stem(x)
    stage = gate_by_hand(model, 0, stem, model.backbone.stage(stem), rows)
    convs = gate_by_hand(model, 1, stage, model.decode_head.convs(stage), rows)
    # FCNHead concatenates its input and what its convs make of it.
    mixed = model.decode_head.conv_cat(torch.cat([stage, convs], dim=1))
    return gate_by_hand(model, 2, convs, model.decode_head.conv_seg(mixed), rows)


@pytest.mark.parametrize("rows_by", ["pooling", "interpolation"])
def test_gates_follow_each_other(rows_by):
    model, x = build(CHAIN, rows_by=rows_by), images(2)
    plain = copy.deepcopy(model)
    logits = model(x)
    expected = plain_forward(plain, x)
    torch.testing.assert_close(logits, expected)
    logits.square().mean().backward()
    expected.square().mean().backward()
    compared = 0
    for (name, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
            compared += 1
    assert compared > 30
    bare = build([])
    bare.load_state_dict(model.state_dict(), strict=False)
    assert not torch.allclose(bare(x), expected, atol=1e-2)


def test_elements_of_one_output_and_a_self_gate():
    x = images(1)
    for place in (dict(STEM, target="backbone[1]"), SELF):
        model = build([place])
        plain = copy.deepcopy(model)
        stem, stage = model.extract_feat(x)
        source = plain.backbone.stem(x) if place is not SELF else None
        for module in plain.modules():
            module._forward_hooks.clear()
        of_stage = plain.backbone.stage(plain.backbone.stem(x))
        source = of_stage if source is None else source
        torch.testing.assert_close(stage, gate_by_hand(plain, 0, source, of_stage, None))
        torch.testing.assert_close(stem, plain.backbone.stem(x))


def test_a_copy_gates_with_its_own_weights():
    model, x = build(CHAIN), images(1)
    expected = model(x)
    for made in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(made(x), expected)
        for parameter in model.height_attention.parameters():
            parameter.data.add_(1)
        torch.testing.assert_close(made(x), expected)
        for parameter in model.height_attention.parameters():
            parameter.data.sub_(1)
        assert made.height_attention[0] is not model.height_attention[0]


@pytest.mark.torch_2_7
def test_compiles_and_exports():
    model, x = build(CHAIN), images(1)
    expected = model(x)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), expected)
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), expected)
    assert not any("mmseg_papers" in str(node.target) for node in program.graph.nodes)


@pytest.mark.parametrize("window_batch", [1, 3])
def test_windows_know_their_rows(window_batch):
    test_cfg = dict(mode="slide", crop_size=(16, 24), stride=(9, 13), window_batch=window_batch)
    model, x = build(CHAIN, test_cfg), images(2, (33, 46))
    rows = row_positions(33)
    logits = model.slide_inference(x, with_meta(dict(img_shape=(33, 46)))[0:0] or [{}, {}])
    # The second row of windows begins at row 9, the last ends with the image.
    total, count = torch.zeros_like(logits), torch.zeros(33, 46)
    for top in (0, 9, 17):
        for left in (0, 13, 22):
            window = x[:, :, top : top + 16, left : left + 24]
            low = plain_forward(copy.deepcopy(model), window, rows[None, top : top + 16])
            full = torch.nn.functional.interpolate(low, (16, 24), mode="bilinear")
            total[:, :, top : top + 16, left : left + 24] += full
            count[top : top + 16, left : left + 24] += 1
    torch.testing.assert_close(logits, total / count, rtol=1e-4, atol=1e-4)
    samples = with_meta(*[dict(img_shape=(33, 46), ori_shape=(33, 46))] * 2)
    with torch.no_grad():
        labels = model(x, samples, mode="predict")
    for sample, values in zip(labels, total, strict=True):
        assert (sample.pred_sem_seg.data[0] == values.argmax(0)).float().mean() > 0.99
    assert model._passing.rows is None


def test_positions_of_a_crop_and_of_padding():
    model, x = build(CHAIN), images(2, (40, 46))
    crop = row_positions(128)[50:80]
    samples = labelled(2, (40, 46))
    for sample in samples:
        sample.set_metainfo(dict(row_position=crop.numpy().astype("uint8")))
    padded = torch.nn.functional.pad(crop, (0, 10), value=128)
    expected = plain_forward(copy.deepcopy(model), x, padded[None])
    found = []
    model.decode_head.conv_seg.register_forward_hook(lambda *args: found.append(args[2]))
    model(x, samples, mode="loss")
    torch.testing.assert_close(found[0], expected)


def test_padding_below_a_whole_image():
    model, x = build(CHAIN), images(1, (40, 46))
    meta = dict(img_shape=(40, 46), ori_shape=(30, 46), padding_size=(0, 0, 0, 10))
    padded = torch.nn.functional.pad(row_positions(30), (0, 10), value=128)
    expected = plain_forward(copy.deepcopy(model), x, padded[None])
    torch.testing.assert_close(model(x, with_meta(meta), mode="tensor"), expected)


def test_training_without_positions():
    with pytest.raises(ValueError, match=r"AddRowPosition.*PackRowPosition.*position=None"):
        build(CHAIN)(images(), labelled(), mode="loss")
    losses = build(CHAIN, position=None)(images(), labelled(), mode="loss")
    assert torch.isfinite(losses["decode.loss_ce"])


def test_in_a_cascade():
    place = dict(
        source="backbone.stage", target="decode_head.1.bottleneck", low_channels=12, high_channels=8
    )
    model = build([place], decode_head=OCR, position=None)
    losses = model(images(), labelled(), mode="loss")
    assert torch.isfinite(losses["decode_1.loss_ce"])


def test_a_stage_of_a_cascade_with_dropout_runs_twice_in_training():
    place = dict(CLASSES, source="backbone[1]", target="decode_head.0.conv_seg:in", pooling="mean")
    model = build(
        [dict(place, low_channels=12, high_channels=8)], decode_head=OCR, position=None
    ).train()
    losses = model(images(2), labelled(2), mode="loss")
    sum(loss for name, loss in losses.items() if "loss" in name).backward()
    for name, parameter in model.height_attention.named_parameters():
        assert parameter.grad is not None, name


def test_a_place_without_effect():
    """The head calls the parts of its pyramid, never the pyramid."""
    decode_head = head("PlainDeepLabV3PlusHead", c1_in_channels=8)
    place = dict(CONVS, target="decode_head.aspp", high_channels=40)
    model = build([place], decode_head=decode_head, position=None).train()
    with pytest.raises(RuntimeError, match=r"places\[0\] gated nothing: .*decode_head\.aspp"):
        model(images(2), labelled(2), mode="loss")


def test_checkpointed_blocks_as_places():
    """Inside one, PyTorch would compute the gates a second time, in the backward pass."""
    blocks = dict(source="backbone.layer3.1", target="backbone.layer4.0", high_channels=64)
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        backbone = dict(type="ResNetV1c", depth=18, base_channels=8, with_cp=with_cp)
        config = model_config(head(in_channels=64, in_index=3), backbone=backbone)
        config.type = "HeightAttentionEncoderDecoder"
        config.height_attention = dict(places=[dict(blocks, low_channels=32)], position=None)
        model = MODELS.build(config)
        torch.manual_seed(1)
        model(images(2), labelled(2), mode="loss")["decode.loss_ce"].backward()
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("target", ["backbone.layer4.0.conv2", "backbone.layer4.0.conv1"])
def test_places_inside_a_checkpointed_module(target):
    """Their gates would be computed again without the rows' positions, and teach wrongly."""
    source = target if target.endswith("2") else "backbone.layer3.1"
    channels = 64 if target.endswith("2") else 32
    place = dict(source=source, target=target, low_channels=channels, high_channels=64)
    backbone = dict(type="ResNetV1c", depth=18, base_channels=8)
    config = model_config(head(in_channels=64, in_index=3), backbone=backbone)
    config.type = "HeightAttentionEncoderDecoder"
    config.height_attention = dict(places=[place], position=None)
    model = MODELS.build(config)
    turn_on_activation_checkpointing(model, "backbone.layer4")
    loss = model(images(2), labelled(2), mode="loss")["decode.loss_ce"]
    with pytest.raises(RuntimeError, match=r"places\[0\]\.\w+: backbone\.layer4.*checkpointed"):
        loss.backward()


def test_a_place_of_the_auxiliary_head():
    place = dict(CONVS, source="backbone.stem", target="auxiliary_head.convs.0", low_channels=8)
    model = build([place], position=None)
    assert "decode.loss_ce" in model(images(), labelled(), mode="loss")
    model(images(), labelled(), mode="predict")


def test_in_segformer():
    config = model_config(
        head(
            "SegformerHead",
            in_channels=[4, 8, 16, 24],
            in_index=[0, 1, 2, 3],
            channels=8,
        )
    )
    config.type = "HeightAttentionEncoderDecoder"
    config.backbone = dict(
        type="MixVisionTransformer",
        embed_dims=4,
        num_layers=[1, 1, 1, 1],
        num_heads=[1, 2, 4, 6],
        patch_sizes=[7, 3, 3, 3],
        sr_ratios=[8, 4, 2, 1],
    )
    config.height_attention = dict(
        places=[
            dict(source="backbone[2]", target="backbone[3]", low_channels=16, high_channels=24),
            dict(
                source="decode_head.fusion_conv:in",
                target="decode_head.fusion_conv",
                low_channels=32,
                high_channels=8,
            ),
        ],
        reduction=4,
    )
    assert MODELS.build(config).eval()(images(1, (64, 64))).shape == (1, 19, 16, 16)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            dict(STEM, source="backbone.stge"),
            r"no module .* Did you mean .*backbone\.stage",
        ),
        (dict(STEM, target="decode_heed"), r"places\[0\]\.target.*Did you mean decode_head"),
        (dict(STEM, source="backbone[x]"), r"must be like .*got 'backbone\[x\]'"),
    ],
)
def test_names_that_do_not_exist(place, message):
    with pytest.raises(ValueError, match=message):
        build([place])


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        (
            dict(STEM, low_channels=9),
            ValueError,
            r"low_channels is 9.*set it to 8",
        ),
        (dict(STEM, high_channels=9), ValueError, "high_channels is 9.*set it to 12"),
        (dict(STEM, source="backbone[2]"), ValueError, r"backbone\[2\]: backbone gives 2 maps"),
        (dict(STEM, source="backbone.stem[0]"), ValueError, "gives a single map"),
        (dict(STEM, source="decode_head", low_channels=19), RuntimeError, "not computed before"),
    ],
)
def test_places_that_do_not_fit(place, error, message):
    if place["source"].startswith("backbone["):
        place = dict(place, target="backbone[1]")
    with pytest.raises(error, match=message):
        build([place])(images(1))
