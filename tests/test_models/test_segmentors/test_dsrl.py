"""DSRL: halving, losses of the three branches, full-size results, weights without SISR, cost."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_papers.apis import multiply_adds
from mmseg_papers.apis.configs import packaged_configs
from mmseg_papers.models.layers import BilinearSSSR, DeconvSSSR
from mmseg_papers.models.segmentors import DSRLEncoderDecoder
from mmseg_papers.models.segmentors.dsrl_encoder_decoder import without_training_branches
from mmseg_papers.ops import feature_affinity_reference

from .tiny_models import NUM_CLASSES, auxiliary, head, images, labelled, model_config

SIZE = (48, 64)
SISR = dict(type="SISRHead", in_channels=(8, 12), in_index=(0, 1), loss_weight=0.1)
FULL = dict(
    sisr_head=SISR,
    feature_transform=dict(in_channels=8, out_channels=6),
    loss_fa=dict(type="FeatureAffinityLoss", grid_stride=8),
)
DECONV = dict(type="DeconvSSSR", channels=NUM_CLASSES, num_deconvs=4)


def build(decode_head=None, **options):
    config = model_config(decode_head or head(), **options)
    config.type = "DSRLEncoderDecoder"
    return MODELS.build(config)


def baseline(model, decode_head=None, **options):
    """mmseg's segmentor with the weights of the base network."""
    theirs = MODELS.build(model_config(decode_head or head(), **options))
    weights = without_training_branches(model.state_dict())
    theirs.load_state_dict({k: v for k, v in weights.items() if not k.startswith("sssr.")})
    return theirs.train(model.training)


def halved(x):
    size = [n // 2 for n in x.shape[2:]]
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


# Training


def test_sssr_alone_is_the_base_network_on_half_the_image_and_full_labels():
    model = build(auxiliary_head=auxiliary()).eval()
    x, samples = images(size=SIZE), labelled(size=SIZE)
    theirs = baseline(model, auxiliary_head=auxiliary())
    expected, got = theirs.loss(halved(x), samples), model.loss(x, samples)
    assert set(got) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(got[key], value)


@pytest.mark.parametrize("sssr", [None, DECONV, dict(type="BilinearSSSR")])
def test_losses_of_all_branches(sssr):
    model = build(sssr=sssr, **FULL).eval()
    x, samples = images(size=SIZE), labelled(size=SIZE)
    losses = model.loss(x, samples)
    assert set(losses) == {"decode.loss_ce", "decode.acc_seg", "sisr.loss_mse", "loss_fa"}
    maps = model.extract_feat(halved(x))
    image, sr_feature = model.sisr_head(maps, SIZE)
    torch.testing.assert_close(losses["sisr.loss_mse"], 0.1 * (image - x).square().mean())
    feature = model.feature_transform(model.decode_head._forward_feature(maps))
    expected = feature_affinity_reference(
        *(F.adaptive_avg_pool2d(f, (6, 8)) for f in (feature, sr_feature))
    )
    torch.testing.assert_close(losses["loss_fa"], expected.mean())


def test_every_parameter_learns():
    model = build(sssr=DECONV, **FULL)
    model.parse_losses(model.loss(images(size=SIZE), labelled(size=SIZE)))[0].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_affinity_of_outputs():
    options = {**FULL, "feature_transform": dict(in_channels=NUM_CLASSES, out_channels=3)}
    model = build(fa_source="output", **options).eval()
    x, samples = images(size=SIZE), labelled(size=SIZE)
    logits = F.interpolate(model(x), SIZE, mode="bilinear")
    expected = model.loss_fa(model.feature_transform(logits), model.super_resolve_image(x))
    torch.testing.assert_close(model.loss(x, samples)["loss_fa"], expected)


@pytest.mark.parametrize("detach", [False, True])
def test_affinity_can_leave_the_sisr_branch_alone(detach):
    model = build(detach_sr=detach, **FULL)
    model.loss(images(size=SIZE), labelled(size=SIZE))["loss_fa"].backward()
    assert (model.sisr_head.body[0].weight.grad is None) == detach
    assert model.decode_head.convs[0].conv.weight.grad is not None


def test_the_image_is_no_target_where_it_is_padding():
    model = build(sisr_head=SISR).eval()
    x, samples = images(size=SIZE), labelled(size=SIZE)
    x[:, :, 40:], x[:, :, :, 50:] = 0, 0
    for sample in samples:
        sample.set_metainfo(dict(padding_size=(0, 14, 0, 8)))
    image = model.super_resolve_image(x)
    expected = 0.1 * (image - x)[:, :, :40, :50].square().mean()
    torch.testing.assert_close(model.loss(x, samples)["sisr.loss_mse"], expected)


def test_trains_under_autocast():
    model = build(sssr=DECONV, **FULL)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.loss(images(size=SIZE), labelled(size=SIZE))
    assert losses["loss_fa"].dtype == losses["sisr.loss_mse"].dtype == torch.float32
    total = model.parse_losses(losses)[0]
    total.backward()
    assert torch.isfinite(total)


def test_focal_loss_of_mmseg_needs_a_gpu():
    model = build(head(loss_decode=dict(type="FocalLoss")))
    with pytest.raises(ValueError, match=r"FCNHead needs CUDA .*SoftmaxFocalLoss"):
        model.loss(images(size=SIZE), labelled(size=SIZE))


def test_a_head_with_a_loss_by_feat_of_its_own():
    class Halving(MODELS.get("FCNHead")):
        def loss_by_feat(self, seg_logits, batch_data_samples):
            losses = super().loss_by_feat(seg_logits, batch_data_samples)
            return {key: value / 2 for key, value in losses.items()}

    model, other = build().eval(), build(head(kind=Halving)).eval()
    other.load_state_dict(model.state_dict())
    x, samples = images(size=SIZE), labelled(size=SIZE)
    torch.testing.assert_close(
        2 * other.loss(x, samples)["decode.loss_ce"], model.loss(x, samples)["decode.loss_ce"]
    )


# Evaluation


def sample(**meta):
    return SegDataSample(metainfo=meta)


def whole(model, x, metas):
    with torch.no_grad():
        return model(x, [sample(**meta) for meta in metas], mode="predict")


def test_full_size_test_images_take_stock_pipelines():
    model = build(sssr=DECONV).eval()
    meta = dict(img_shape=(45, 61), ori_shape=(90, 122))
    x = images(1, (45, 61))
    (result,) = whole(model, x, [meta])
    assert result.pred_sem_seg.data.shape == (1, 90, 122)
    logits = F.interpolate(model(x), (45, 61), mode="bilinear")
    assert model(x).shape[2:] == (48, 64)
    expected = F.interpolate(logits, (90, 122), mode="bilinear")
    torch.testing.assert_close(result.seg_logits.data, expected[0])
    torch.testing.assert_close(result.pred_sem_seg.data, expected.argmax(1))


@pytest.mark.parametrize("keep", [None, "confidence"])
def test_half_size_test_images_with_padding(keep):
    """30 x 45 pixels padded to 32 x 64 give 60 x 90, cut from 64 x 128."""
    model = build(halve_test_images=False, test_cfg=dict(mode="whole", keep=keep)).eval()
    x = images(2, (32, 64))
    meta = dict(
        img_shape=(30, 45), pad_shape=(32, 64), img_padding_size=(0, 19, 0, 2), ori_shape=(60, 90)
    )
    results = whole(model, x, [meta] * 2)
    logits = F.interpolate(model(x), (64, 128), mode="bilinear")[:, :, :60, :90]
    for result, expected in zip(results, logits, strict=True):
        assert torch.equal(result.pred_sem_seg.data[0], expected.argmax(0))
        torch.testing.assert_close(result.seg_logits.data, expected)
        if keep:
            torch.testing.assert_close(result.seg_confidence.data[0], expected.softmax(0).amax(0))


def test_without_samples_results_have_the_full_size():
    model = build(halve_test_images=False).eval()
    with torch.no_grad():
        (result,) = model(images(1, (20, 30)), mode="predict")
    assert result.pred_sem_seg.data.shape == (1, 40, 60)


@pytest.mark.parametrize("halves", [True, False])
def test_sliding_window(halves):
    size, crop, stride, scale = (40, 56), (16, 24), (10, 16), 1 if halves else 2
    test_cfg = dict(mode="slide", crop_size=crop, stride=stride)
    model = build(sssr=DECONV, halve_test_images=halves, test_cfg=test_cfg).eval()
    x = images(2, size)
    full = tuple(scale * n for n in size)
    total, count = torch.zeros(2, NUM_CLASSES, *full), torch.zeros(full)
    for top in (0, 10, 20, 24):
        for left in (0, 16, 32):
            with torch.no_grad():
                window = model(x[:, :, top : top + 16, left : left + 24])
            window = F.interpolate(window, [scale * n for n in crop], mode="bilinear")
            rows = slice(scale * top, scale * (top + 16))
            columns = slice(scale * left, scale * (left + 24))
            total[:, :, rows, columns] += window
            count[rows, columns] += 1
    expected = total / count
    results = whole(model, x, [dict(img_shape=size, ori_shape=full)] * 2)
    for result, logits in zip(results, expected, strict=True):
        torch.testing.assert_close(result.seg_logits.data, logits)
        assert torch.equal(result.pred_sem_seg.data[0], logits.argmax(0))
    with torch.no_grad():
        merged = model.inference(x, [dict(img_shape=size, ori_shape=full)] * 2)
    torch.testing.assert_close(merged, expected)


def test_the_path_of_mmseg_gives_the_same():
    """A binary head has one channel, which mmseg's own code thresholds."""
    binary = head(
        num_classes=2,
        out_channels=1,
        threshold=0.5,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=True),
    )
    model = build(binary, halve_test_images=False).eval()
    x = images(1, (32, 64))
    meta = dict(
        img_shape=(30, 45), pad_shape=(32, 64), img_padding_size=(0, 19, 0, 2), ori_shape=(60, 90)
    )
    samples = [sample(**meta)]
    with torch.no_grad():
        (result,) = model(x, samples, mode="predict")
    expected = F.interpolate(model(x), (64, 128), mode="bilinear")[0, :, :60, :90].sigmoid()
    torch.testing.assert_close(result.seg_logits.data, expected)
    assert result.metainfo == meta


def test_evaluation_is_fused():
    assert build(sssr=DECONV)._why_prediction_is_not_fused() is None

    class Other(DSRLEncoderDecoder):
        def encode_decode(self, inputs, batch_img_metas):
            return super().encode_decode(inputs, batch_img_metas) + 1

    other = Other(**{k: v for k, v in model_config(head()).items() if k != "type"})
    assert other._why_prediction_is_not_fused() == "Other has a encode_decode of its own"


def test_halving_smooths_if_asked():
    x = images(1, SIZE)
    model = build(halve_align_corners=False, halve_antialias=True)
    expected = F.interpolate(x, (24, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(model.halve(x), expected)
    assert (model.halve(x) - halved(x)).abs().max() > 0.1


def test_sssr_layers():
    x = torch.randn(2, 5, 6, 9)
    assert DeconvSSSR(5)(x, (12, 18)).shape == (2, 5, 24, 36)
    assert (DeconvSSSR(5, act_cfg=dict(type="ReLU"))(x, (12, 18)) >= 0).all()
    bilinear = F.interpolate(x, (11, 17), mode="bilinear", align_corners=True)
    bilinear = F.interpolate(bilinear, (22, 34), mode="bilinear", align_corners=True)
    torch.testing.assert_close(BilinearSSSR()(x, (11, 17)), bilinear)
    with pytest.raises(ValueError, match="num_deconvs must be at least 1, got 0"):
        DeconvSSSR(5, num_deconvs=0)


# Weights and cost of the exported model


def test_training_branches_leave_no_key_and_none_is_missed():
    trained = build(sssr=DECONV, **FULL).eval()
    weights = trained.state_dict()
    exported = without_training_branches(weights)
    assert {key.partition(".")[0] for key in set(weights) - set(exported)} == {
        "sisr_head",
        "feature_transform",
    }
    plain = build(sssr=DECONV).eval()
    assert set(plain.state_dict()) == set(exported)
    plain.load_state_dict(weights, strict=True)  # of the training run, as it is
    x = images(1, SIZE)
    torch.testing.assert_close(plain(x), trained(x))
    plain.load_state_dict(exported, strict=True)
    assert set(trained.drop_training_branches().state_dict()) == set(exported)
    torch.testing.assert_close(plain(x), trained(x))


def test_a_model_with_sisr_does_not_load_a_file_without():
    exported = without_training_branches(build(**FULL).state_dict())
    with pytest.raises(RuntimeError, match=r"sisr_head\.body\.0\.weight"):
        build(**FULL).load_state_dict(exported, strict=True)


@pytest.mark.parametrize("sssr", [None, DECONV])
def test_exported_model_costs_the_base_network_and_sssr(sssr):
    model = build(sssr=sssr, **FULL).eval()
    x = images(1, SIZE)
    count = multiply_adds(model, x)  # SISR is there, and not run
    base = baseline(model)
    expected = multiply_adds(base, halved(x))
    assert expected > 0
    if sssr is not None:
        expected += multiply_adds(model.sssr, base(halved(x)), None)
        assert expected > multiply_adds(base, halved(x))
    assert count == expected
    assert multiply_adds(model.drop_training_branches(), x) == expected


@pytest.mark.parametrize(
    ("name", "base", "sssr"),
    [
        ("espnetv2-s2-in256x512_4xb4-120k_cityscapes-512x1024", 0.6745, 0.5898),
        ("espnetv2-s2-in512x1024_4xb4-120k_cityscapes-1024x2048", 2.6977, 2.3593),
        ("deeplabv3plus-r101-in256x512_4xb4-120k_cityscapes-512x1024", 44.27, 0),
        ("pspnet-r50-in256x512_4xb4-120k_cityscapes-512x1024", 89.19, 0),
    ],
)
def test_cost_of_the_configs(name, base, sssr):
    """Giga multiply-adds of base network and SSSR; the exported model is both and no more."""
    config = Config.fromfile(packaged_configs()[f"dsrl_{name}"])
    with torch.device("meta"):
        model = revert_sync_batchnorm(MODELS.build(config.model)).eval().drop_training_branches()
        x = torch.rand(1, 3, *config.crop_size)
    total = multiply_adds(model, x) / 1e9
    model.sssr = None
    assert multiply_adds(model, x) / 1e9 == pytest.approx(base, rel=1e-3)
    assert total == pytest.approx(base + sssr, rel=1e-3)


@pytest.mark.torch_2_7
def test_exports_without_operations_of_ours():
    model = build(sssr=DECONV, halve_test_images=False, **FULL).eval().drop_training_branches()
    x = images(1, (24, 32))
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x))
    assert "mmseg_papers" not in str(program.graph)


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(fa_source="logits"), "fa_source must be one of feature, output, got 'logits'"),
        (dict(loss_fa=FULL["loss_fa"]), "needs a sisr_head"),
        (dict(FULL, loss_fa=None), "feature_transform is a part of FA and needs loss_fa"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_a_head_with_a_loss_of_its_own_is_refused():
    class Other(MODELS.get("FCNHead")):
        def loss(self, *args):
            return {}

    with pytest.raises(ValueError, match="got Other, which has a loss of its own"):
        build(head(kind=Other))


@pytest.mark.parametrize("size", [(47, 64), (48, 63)])
def test_training_images_have_even_sides(size):
    with pytest.raises(ValueError, match=rf"even sides.*got {size[0]} x {size[1]}"):
        build().loss(images(size=size), labelled(size=size))


def test_a_head_without_one_last_feature():
    class Twice(MODELS.get("FCNHead")):
        def cls_seg(self, feat):
            return super().cls_seg(feat) + super().cls_seg(feat)

    model = build(head(kind=Twice), **FULL)
    with pytest.raises(RuntimeError, match=r"conv_seg 2 times.*fa_source='output'"):
        model.loss(images(size=SIZE), labelled(size=SIZE))


def test_exported_weights_super_resolve_no_image():
    with pytest.raises(RuntimeError, match="no sisr_head"):
        build().super_resolve_image(images(1, SIZE))


def test_config_of_any_mmseg_head():
    psp = dict(kind="PSPHead", pool_scales=(1, 2), loss_decode=[dict(type="CrossEntropyLoss")])
    model = build(ConfigDict(head(**psp)), **FULL)
    losses = model.loss(images(size=SIZE), labelled(size=SIZE))
    assert torch.isfinite(model.parse_losses(losses)[0])
