"""torch.compile takes every family's network and losses as one graph, up to mmseg's own code."""

import linecache

import pytest
import torch
from mmengine.runner import Runner

from mmseg_papers.apis.configs import packaged_configs

from .families import FAMILIES, build, config_of, every_family, training_batch
from .generated_data import shrink
from .test_configs import OPTIONS

pytestmark = pytest.mark.torch_2_4
#: Lines at which a graph breaks, and why.
KNOWN_BREAKS = {
    "with self._tap() as tapped:": "DSRL takes a map from inside any head by a hook, in training",
    "correct = correct[:, target != ignore_index]": "mmseg's accuracy: a row for each valid pixel",
    "== ignore_index).sum().item()": "mmseg's cross entropy: the number of valid pixels",
}


def breaks(function, *args):
    torch._dynamo.reset()
    explained = torch._dynamo.explain(function)(*args)
    frames = [reason.user_stack[-1] for reason in explained.break_reasons]
    return {linecache.getline(frame.filename, frame.lineno).strip() for frame in frames}


@every_family
def test_graph_is_whole(family):
    folder = packaged_configs()[FAMILIES[family][0]].parent.name
    config = config_of(family, **OPTIONS.get(folder, {}))
    model = build(config)
    inputs, samples = training_batch(config)
    with torch.no_grad():
        assert not breaks(model.eval()._forward, inputs)
    assert not breaks(model.train().loss, inputs, samples) - set(KNOWN_BREAKS)


def test_the_runner_option_changes_nothing(tmp_path):
    """``compile`` in a config trains and evaluates; here without a C++ compiler's part."""
    results = []
    for name, options in (("plain", {}), ("compiled", {"compile": dict(backend="eager")})):
        config = shrink(config_of("deeplabv3"), tmp_path / name, **options)
        config.model.data_preprocessor.test_cfg = None
        runner = Runner.from_cfg(config)
        runner.train()
        losses, _ = runner.message_hub.get_scalar("train/loss").data
        results.append([*losses, runner.message_hub.get_scalar("val/mIoU").current()])
    assert results[1] == pytest.approx(results[0], rel=1e-4)
