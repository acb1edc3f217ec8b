"""Configs for crops of another size."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from mmseg_papers.__main__ import main
from mmseg_papers.apis import with_crop_size
from mmseg_papers.apis.configs import resolved_config
from mmseg_papers.models.option_errors import typed_parts

from ..families import FAMILIES

CPNET = "cpnet_r50-d8_1xb8-20k_camvid-360x480"


@pytest.mark.parametrize("name", [name for name, _ in FAMILIES.values()])
def test_half_the_size_and_back(name):
    config = resolved_config(name)
    whole = tuple(8 * side for side in config.crop_size)  # or halves are rounded
    config = with_crop_size(config, whole)
    half = with_crop_size(config, [side // 2 for side in whole])
    assert whole not in sizes(half)
    assert sizes(half) == [tuple(n / 2 for n in size) for size in sizes(config)]
    assert with_crop_size(half, whole).to_dict() == config.to_dict()


def sizes(config: Config) -> list[tuple]:
    """Of images, crops, windows and padding."""
    found = [tuple(config.crop_size), tuple(config.model.data_preprocessor.size)]
    window = config.model.test_cfg
    found += [tuple(window[key]) for key in ("crop_size", "stride") if key in window]
    for _, part in typed_parts(config):
        for option in ("crop_size", "size", "scale"):
            found += [tuple(part[option])] if isinstance(part.get(option), (list, tuple)) else []
        found += map(tuple, part.get("scales", ()))
    return found


@pytest.mark.parametrize("crop_size", [(360, 480), (120, 160), (292, 301), (65, 513)])
def test_the_prior_fits_the_maps(crop_size):
    head = with_crop_size(CPNET, crop_size).model.decode_head
    assert head.prior_size == tuple(-(-side // 8) for side in crop_size)


def test_images_shrink_as_the_side_that_shrinks_most():
    config = with_crop_size(CPNET, (180, 160))
    assert config.train_pipeline[2].scale == (160, 120)
    assert config.train_dataloader.dataset.pipeline == config.train_pipeline
    assert config.model.test_cfg.stride == (120, 107)
    assert config.model.backbone == resolved_config(CPNET).model.backbone


def test_a_scale_that_is_no_size_stays():
    config = resolved_config("ocrnet_hrnetv2-w18-small-v2_1xb8-20k_camvid-360x480")
    config.merge_from_dict({"model.decode_head.1.scale": 1})
    assert with_crop_size(config, (1080, 1440)).model.decode_head[1].scale == 1


def test_lengths_change_too():
    config = with_crop_size("hanet_r101-os16_2xb8-60k_bdd100k-608x608", (304, 304))
    assert config.train_dataloader.dataset.tile_size == 360


@pytest.mark.parametrize("crop_size", [(0, 64), (64,), (64.0, 64), (64, 64, 3)])
def test_refuses_what_is_no_size(crop_size):
    with pytest.raises(ValueError, match="two whole numbers above 0, got"):
        with_crop_size(CPNET, crop_size)


def test_refuses_a_config_without_crops():
    with pytest.raises(ValueError, match="has no crop_size"):
        with_crop_size(Config(dict(model=dict())), (64, 64))


def test_the_command(tmp_path):
    options = ["--crop-size", "120", "160", "--data-root", "data/mine", "--classes", "a", "b"]
    assert main(["config", CPNET, *options, "--dest", str(tmp_path)]) == 0
    config = Config.fromfile(tmp_path / f"{CPNET}.py")
    assert config.train_pipeline[2].scale == (480, 120)
    assert config.train_pipeline[3].crop_size == (120, 160)
    assert config.model.decode_head.prior_size == (15, 20)
