"""Every family trains and predicts on a device that is not the CPU, without leaving it."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import mmengine.device.utils
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmseg_papers.apis import Predictor, build_model
from mmseg_papers.apis.configs import packaged_configs
from mmseg_papers.ops import triton_device

from .families import FAMILIES, build, config_of, every_family, training_batch
from .generated_data import shrink
from .short_training import FAMILIES as OF_CAMVID
from .short_training import PROCESSES, SMALL
from .test_configs import OPTIONS, load, without_pretrained

pytestmark = pytest.mark.python_backend
#: Where losses are taken at the size of the logits, they and the accuracy are mmseg's, which count
#: ignored pixels on the host.
WAITS_OF_MMSEG = {
    **dict.fromkeys(("refinenet", "refinenet-2scale"), 3),
    **dict.fromkeys(("hanet", "hanet-mobilenet", "hanet-shufflenet"), 2),
}


def apart(function, *args):
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, PROCESSES) as pool:
        return pool.submit(function, *args).result()


def prepare():
    torch.set_num_threads(1)
    init_default_scope("mmseg")
    triton_device._is_installed = lambda: False  # its interpreter reads memory


def step(model, inputs, samples):
    """Loss and labels."""
    torch.manual_seed(0)
    total, _ = model.train().parse_losses(model(inputs, samples, mode="loss"))
    total.backward()
    with torch.no_grad():
        predicted = model.eval()(inputs, samples, mode="predict")
    return total.detach(), [sample.pred_sem_seg.data for sample in predicted]


def train_and_predict(family):
    prepare()
    from .fake_accelerator import Dispatch, fake_accelerator

    folder = packaged_configs()[FAMILIES[family][0]].parent.name
    config = config_of(family, **OPTIONS.get(folder, {}))
    inputs, samples = training_batch(config)
    inputs = inputs.double()
    reference, model = build(config).double(), build(config).double()
    expected, labels = step(reference, inputs, [sample.clone() for sample in samples])
    with fake_accelerator() as device:
        model.to(device)
        got, predicted = step(
            model, inputs.to(device), [sample.clone().to(device) for sample in samples]
        )
        waits = Dispatch.waits
        assert all(x.device == device for x in (got, *predicted))
        torch.testing.assert_close(got.cpu(), expected, rtol=1e-9, atol=0)
        for a, b in zip(predicted, labels, strict=True):
            assert (a.cpu() == b).all()
        largest = max(p.grad.abs().max() for p in reference.parameters() if p.grad is not None)
        for a, b in zip(model.parameters(), reference.parameters(), strict=True):
            assert (a.grad is None) == (b.grad is None)
            if b.grad is not None:
                torch.testing.assert_close(a.grad.cpu(), b.grad, rtol=1e-6, atol=1e-9 * largest)
    return waits


@every_family
def test_every_family(family):
    """In a step and a prediction, nothing of ours makes the host wait for the device."""
    assert apart(train_and_predict, family) == WAITS_OF_MMSEG.get(family, 0)


def run(name, folder):
    prepare()
    from .fake_accelerator import NAME, fake_accelerator

    mmengine.device.utils.DEVICE = NAME
    config = shrink(load(name), folder, **OPTIONS.get(packaged_configs()[name].parent.name, {}))
    config.model = without_pretrained(config.model)
    with fake_accelerator():
        runner = Runner.from_cfg(config)
        assert {p.device.type for p in runner.model.parameters()} == {NAME}
        runner.train()
        return runner.test()["mIoU"]


@pytest.mark.parametrize(
    "name", [SMALL, *(pytest.param(n, marks=pytest.mark.slow) for n in OF_CAMVID.values())]
)
def test_trains_validates_and_tests(name, tmp_path):
    assert 0 <= apart(run, name, tmp_path) <= 100


def predict(checkpoint: Path):
    prepare()
    from .fake_accelerator import NAME, fake_accelerator

    image = np.random.RandomState(0).randint(0, 255, (90, 130, 3), np.uint8)
    expected = Predictor(SMALL, checkpoint, "cpu")(image)
    with fake_accelerator():
        got = Predictor(SMALL, checkpoint, NAME)(image)
    return (got.labels != expected.labels).mean()


def test_predictor(tmp_path):
    torch.save({"state_dict": build_model(SMALL).state_dict(), "meta": {}}, tmp_path / "a.pth")
    assert apart(predict, tmp_path / "a.pth") < 1e-3
