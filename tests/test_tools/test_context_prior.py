"""The picture of a context prior: the right window, the right pixels, and a file."""

import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.apis import init_model
from mmseg.structures import SegDataSample

from mmseg_papers.apis.configs import packaged_configs

from ..generated_data import CROP, shrink

FILE = Path(__file__).parents[2] / "tools" / "analysis_tools" / "context_prior.py"
GRID = (CROP[0] // 8, CROP[1] // 8)


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("context_prior", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config(tmp_path):
    config = Config.fromfile(packaged_configs()["cpnet_r50-d8_1xb8-20k_camvid-360x480"])
    model = {
        "backbone": dict(depth=18, base_channels=4, stem_channels=4, init_cfg=None),
        "data_preprocessor.test_cfg.size": CROP,
        "decode_head": dict(in_channels=32, channels=4, prior_channels=4, prior_size=GRID),
        "auxiliary_head": dict(in_channels=16, channels=4),
    }
    return shrink(config, tmp_path, **{f"model.{key}": value for key, value in model.items()})


def test_draws_a_test_image(tool, config, tmp_path, capsys):
    model = init_model(config, None, device="cpu")
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "weights.pth")
    config.dump(tmp_path / "config.py")
    files = [str(tmp_path / "config.py"), str(tmp_path / "weights.pth")]
    target = tmp_path / "prior.png"
    for points in ([], ["--points", "3,5", "95,63"]):
        target.unlink(missing_ok=True)
        tool.main([*files, "--out", str(target), *points])
        assert target.stat().st_size > 10_000
    for wrong, message in ((["--points", "96,0"], "point 96,0 is outside"), (["--index", "9"], "")):
        with pytest.raises(SystemExit):
            tool.main([*files, *wrong])
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("size", [(40, 100), (90, 200)])
def test_the_label_lies_on_the_image(tool, config, size):
    """A label map of another size, padded and cut as the image is."""
    model = init_model(config, None, device="cpu")
    coarse = torch.randint(0, 11, (1, size[0] // 5, size[1] // 5))
    label = coarse.repeat_interleave(5, 1).repeat_interleave(5, 2)
    image = label.expand(3, -1, -1).to(torch.uint8)
    sample = SegDataSample(gt_sem_seg=PixelData(data=coarse))
    window, found = tool.read_window(model, dict(inputs=image, data_samples=sample))
    assert window.shape[2:] == found.shape[2:] == CROP
    pixels = window * model.data_preprocessor.std + model.data_preprocessor.mean
    inside = found != 255
    assert torch.equal(pixels[:, :1].round().long()[inside], found[inside])
    assert inside.float().mean().item() == pytest.approx(min(size[0] / CROP[0], 1))


def test_middles_of_the_largest_classes(tool):
    label = torch.full((5, 6), 255)
    label[:3, :3] = 4
    label[4, 2:] = 7
    label[0, 5] = 1
    assert tool.middles_of_classes(label, 2, 255) == [7, 27]
    assert tool.middles_of_classes(label, 4, 255) == [7, 27, 5]
