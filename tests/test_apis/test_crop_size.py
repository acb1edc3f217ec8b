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


def resizes(pipeline):
    """Each resizing step's type and what it resizes to or by."""
    return [
        (part["type"], part.get("scale_factor", part.get("ratio_range", part.get("scale"))))
        for _, part in typed_parts(pipeline)
        if "Resize" in part["type"]
    ]


@pytest.mark.parametrize(
    ("name", "train", "test", "tta"),
    [
        (  # in training and several scales by factors, in the plain test to a size
            "deeplabv3_r101-mg124_4xb4-90k_cityscapes-769x769",
            [("Resize", quarters / 8) for quarters in range(2, 9)],
            [("Resize", (1025, 513))],
            [("Resize", quarters / 8) for quarters in (3, 4, 5)],
        ),
        (
            "spnet_r101-d8_4xb2-67k_cityscapes-768x768",
            [("RandomRelativeResize", (0.25, 0.875))],
            [("Resize", (1024, 512))],
            None,
        ),
        (  # own size in the plain test
            "lw-refinenet_r50_1xb6-40k_nyudv2-500x500",
            [("RandomRelativeResize", (0.25, 1.0))],
            [("Resize", 0.5)],
            None,
        ),
        (  # by factors of a size in pixels
            "deeplabv3plus_x65_4xb4-150k_ade20k-513x513",
            None,
            [("Resize", (257, 257))],
            None,
        ),
    ],
)
def test_factors_change_as_sizes_do(name, train, test, tta):
    config = resolved_config(name)
    half = with_crop_size(config, [side // 2 + side % 2 for side in config.crop_size])
    least = half.crop_size[0] / config.crop_size[0]

    def close(found, expected):
        assert [kind for kind, _ in found] == [kind for kind, _ in expected]
        for (_, got), (_, value) in zip(found, expected, strict=True):
            assert got == pytest.approx(value, rel=abs(2 * least - 1) + 1e-9)

    for pipeline, expected in (
        (half.train_pipeline, train),
        (half.test_pipeline, test),
        (half.test_dataloader.dataset.pipeline, test),
        (half.tta_pipeline, tta),
    ):
        if expected is not None:
            close(resizes(pipeline), expected)


def test_a_factor_of_a_size_in_pixels_stays():
    steps = [dict(type="Resize", scale=(64, 32)), dict(type="Resize", scale_factor=0.5)]
    config = Config(dict(crop_size=(32, 64), train_pipeline=steps))
    assert resizes(with_crop_size(config, (16, 32)).train_pipeline) == [
        ("Resize", (32, 16)),
        ("Resize", 0.5),
    ]


@pytest.mark.parametrize("crop_size", [(240, 240), (960, 960)])
def test_the_model_keeps_its_scales(crop_size):
    name = "refinenet-2scale_r50_4xb2-60k_nyudv2-480x480"
    assert with_crop_size(name, crop_size).model.backbone.scales == (0.5, 1)


def test_the_least_number_of_pixels_changes_as_the_area():
    config = resolved_config("hrnetv2_w48-ohem_4xb3-120k_cityscapes-512x1024")
    kept = config.model.decode_head.loss_decode.min_kept
    half = with_crop_size(config, (256, 512))
    assert half.model.decode_head.loss_decode.min_kept == kept // 4


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
