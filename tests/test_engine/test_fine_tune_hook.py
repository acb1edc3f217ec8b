"""Fine-tuning takes over all but the classes, says so, and stops at anything else."""

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_papers.engine.fine_tune_hook import FineTuneHook, load_all_but_classes


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
    assert fresh == [
        "decode_head.conv_seg.weight: [19, 240, 1, 1] there, [3, 240, 1, 1] here",
        "decode_head.conv_seg.bias: [19] there, [3] here",
    ]
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
    with pytest.raises((ValueError, RuntimeError), match="nothing was loaded"):
        FineTuneHook(checkpoint).before_train(Runner(ours))
    for name, value in ours.state_dict().items():
        assert torch.equal(value, before[name])


def test_missing_head_weights_are_refused(checkpoint, tmp_path):
    loaded = torch.load(checkpoint, weights_only=True)["state_dict"]
    del loaded["decode_head.convs.0.conv.weight"]
    torch.save(loaded, tmp_path / "bare.pth")
    with pytest.raises(ValueError, match=r"bare\.pth .*convs\.0\.conv\.weight is missing"):
        FineTuneHook(str(tmp_path / "bare.pth")).before_train(Runner(model()))


def test_a_resumed_training_is_left_alone(checkpoint):
    ours = model(num_classes=3)
    before = ours.backbone.conv1.weight.clone()
    FineTuneHook(checkpoint).before_train(Runner(ours, iteration=100))
    assert torch.equal(ours.backbone.conv1.weight, before)


def test_bad_option():
    with pytest.raises(TypeError, match="checkpoint must be a file or URL, got None"):
        FineTuneHook(None)
