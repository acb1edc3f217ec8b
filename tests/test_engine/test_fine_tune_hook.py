"""Fine-tuning takes over all but the classes, says so, and stops at anything else."""

from functools import partial

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmseg.registry import MODELS

from mmseg_papers.apis import build_model
from mmseg_papers.apis.configs import resolved_config
from mmseg_papers.engine.fine_tune_hook import FineTuneHook
from mmseg_papers.models.layers.complete_loading import load_whole

from ..test_models.test_segmentors.tiny_models import model_config


def model(num_classes=19, arch="w18_small_v1", in_channels=3, width=16):
    norm_cfg = dict(type="BN")
    head = dict(
        type="HRNetV2Head",
        in_channels=[width << r for r in range(4)],
        num_classes=num_classes,
        norm_cfg=norm_cfg,
    )
    backbone = dict(type="HighResolutionNet", arch=arch, in_channels=in_channels, norm_cfg=norm_cfg)
    return MODELS.build(
        dict(
            type="FusedEncoderDecoder",
            backbone=backbone,
            decode_head=head,
            test_cfg=dict(mode="whole"),
        )
    )


load_all_but_classes = partial(load_whole, source="the file", but_classes=True)


class Runner:
    def __init__(self, model, iteration=0):
        self.model, self.iter = model, iteration


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "19.pth"
    torch.save(dict(state_dict=model().state_dict()), file)
    return str(file)


def test_other_classes(checkpoint):
    loaded = torch.load(checkpoint, weights_only=True)["state_dict"]
    ours = model(num_classes=3)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    fresh = load_all_but_classes(ours, loaded)
    assert fresh == {
        "decode_head.conv_seg.weight": "[19, 240, 1, 1] there, [3, 240, 1, 1] here",
        "decode_head.conv_seg.bias": "[19] there, [3] here",
    }
    for name, value in ours.state_dict().items():
        source = before if "conv_seg" in name else loaded
        assert torch.equal(value, source[name]), name


def test_other_channels(checkpoint):
    ours = model(in_channels=4)
    FineTuneHook(checkpoint).before_train(Runner(ours))
    loaded = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert torch.equal(ours.backbone.conv2.weight, loaded["backbone.conv2.weight"])
    torch.testing.assert_close(
        ours.backbone.conv1.weight.sum(1), loaded["backbone.conv1.weight"].sum(1)
    )


def test_another_model_is_refused(checkpoint):
    ours = model(arch="w18_small_v2", width=18)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(ValueError, match="nothing was loaded"):
        FineTuneHook(checkpoint).before_train(Runner(ours))
    for name, value in ours.state_dict().items():
        assert torch.equal(value, before[name])


def test_missing_head_weights_are_refused(checkpoint, tmp_path):
    loaded = torch.load(checkpoint, weights_only=True)["state_dict"]
    del loaded["decode_head.convs.0.conv.weight"]
    torch.save(loaded, tmp_path / "bare.pth")
    with pytest.raises(ValueError, match=r"bare\.pth .*1 missing: .*convs\.0\.conv\.weight"):
        FineTuneHook(str(tmp_path / "bare.pth")).before_train(Runner(model()))


def test_a_deeper_network_is_not_cut(checkpoint, tmp_path):
    loaded = torch.load(checkpoint, weights_only=True)["state_dict"]
    loaded["backbone.stage4.9.weight"] = torch.zeros(1)
    torch.save(loaded, tmp_path / "deep.pth")
    with pytest.raises(ValueError, match=r"deep\.pth .*1 left over: backbone\.stage4\.9"):
        FineTuneHook(str(tmp_path / "deep.pth")).before_train(Runner(model(num_classes=3)))


def test_a_head_that_differs_otherwise_is_refused(checkpoint):
    loaded = torch.load(checkpoint, weights_only=True)["state_dict"]
    name = "decode_head.convs.0.conv.weight"
    loaded[name] = loaded[name][:7]
    with pytest.raises(ValueError, match=rf"{name}: \[7, 240, 1, 1\] instead of"):
        load_all_but_classes(model(num_classes=3), loaded)


def test_widths_that_follow_the_classes():
    """DSRL on ESPNetv2: the decoder has half as many channels as there are logits."""
    name = "dsrl_espnetv2-s2-in180x240_1xb8-20k_camvid-360x480"
    theirs = build_model(name)
    config = resolved_config(name)
    config.model.decode_head.num_classes = 5
    ours = revert_sync_batchnorm(MODELS.build(config.model))
    fresh = load_all_but_classes(ours, theirs.state_dict())
    assert {key.split(".")[0] for key in fresh} == {"decode_head", "sssr", "feature_transform"}
    assert not [key for key in fresh if key.startswith("decode_head.skips")]
    own, loaded = ours.state_dict(), theirs.state_dict()
    assert all(torch.equal(own[key], loaded[key]) for key in own if key not in fresh)


def test_a_file_of_a_distributed_training(checkpoint, tmp_path):
    loaded = torch.load(checkpoint, weights_only=True)["state_dict"]
    torch.save({f"module.{k}": v for k, v in loaded.items()}, tmp_path / "wrapped.pth")
    ours = model()
    FineTuneHook(str(tmp_path / "wrapped.pth")).before_train(Runner(ours))
    assert all(torch.equal(value, loaded[k]) for k, value in ours.state_dict().items())


def test_what_is_not_finite_is_refused(checkpoint):
    loaded = torch.load(checkpoint, weights_only=True)["state_dict"]
    loaded["backbone.bn1.weight"][0] = torch.nan
    with pytest.raises(ValueError, match=r"the file: backbone\.bn1\.weight is not finite"):
        load_all_but_classes(model(), loaded)


def test_names_that_a_module_changes(tmp_path):
    """Weights of mmseg's ASPPHead load into DeepLabV3Head, whole or but for the classes."""
    options = dict(in_channels=12, in_index=1, channels=8, num_classes=19, norm_cfg=dict(type="BN"))
    theirs = MODELS.build(model_config(dict(options, type="ASPPHead", dilations=(1, 6, 12, 18))))
    head = dict(options, type="DeepLabV3Head", bottleneck_kernel=3, num_classes=5)
    ours = MODELS.build(model_config(head))
    assert set(load_all_but_classes(ours, theirs.state_dict())) == {
        "decode_head.conv_seg.weight",
        "decode_head.conv_seg.bias",
    }
    own = ours.state_dict()["decode_head.aspp.bottleneck.conv.weight"]
    assert torch.equal(own, theirs.state_dict()["decode_head.bottleneck.conv.weight"])


def test_what_is_no_tensor(checkpoint):
    loaded = torch.load(checkpoint, weights_only=True)["state_dict"]
    loaded["backbone.conv1.weight"] = 1.0
    with pytest.raises(ValueError, match=r"backbone\.conv1\.weight: \[\] instead of"):
        load_all_but_classes(model(), loaded)


def test_a_resumed_training_is_left_alone(checkpoint):
    ours = model(num_classes=3)
    before = ours.backbone.conv1.weight.clone()
    FineTuneHook(checkpoint).before_train(Runner(ours, iteration=100))
    assert torch.equal(ours.backbone.conv1.weight, before)


def test_bad_option():
    with pytest.raises(TypeError, match="checkpoint must be a file or URL, got None"):
        FineTuneHook(None)
