import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmseg_papers.datasets import street_scenes
from mmseg_papers.datasets.street_scenes import draw_street_scene, write_street_scenes

SIZE = (128, 256)
TOOL = Path(__file__).parents[2] / "tools" / "dataset_converters" / "street_scenes.py"


@pytest.fixture(scope="module")
def scenes():
    return [draw_street_scene(SIZE, seed) for seed in range(16)]


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_layout_and_file_names(tmp_path):
    write_street_scenes(tmp_path / "data" / "scenes", num_train=2, num_val=1, size=(64, 128))
    assert files_below(tmp_path) == {
        f"data/scenes/{folder}/{split}/{city}/{city}_000000_{index:06d}_{suffix}.png"
        for split, city, count in (("train", "northtown", 2), ("val", "southtown", 1))
        for index in range(count)
        for folder, suffix in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelTrainIds"))
    }


def test_files_hold_what_was_drawn_and_all_scenes_differ(tmp_path):
    root = tmp_path / "scenes"
    write_street_scenes(root, num_train=3, num_val=2, size=(64, 128), seed=5)
    images = [cv2.imread(str(path)) for path in sorted(root.glob("leftImg8bit/*/*/*.png"))]
    labels = [cv2.imread(str(path), -1) for path in sorted(root.glob("gtFine/*/*/*.png"))]
    assert len({image.tobytes() for image in images}) == 5
    image, label = draw_street_scene((64, 128), 2 * 5_000_000)
    np.testing.assert_array_equal(images[0], image)
    np.testing.assert_array_equal(labels[0], label)


@pytest.mark.parametrize("size", [(64, 128), (96, 200), (150, 150)])
def test_shapes_types_and_ids(size):
    image, label = draw_street_scene(size, 3)
    assert image.shape == (*size, 3)
    assert label.shape == size
    assert image.dtype == label.dtype == np.uint8
    assert set(np.unique(label)) <= {*range(19), 255}


def test_the_seed_decides_the_scene(scenes):
    image, label = draw_street_scene(SIZE, 0)
    np.testing.assert_array_equal(image, scenes[0][0])
    np.testing.assert_array_equal(label, scenes[0][1])
    assert (image != scenes[1][0]).mean() > 0.5
    assert (label != scenes[1][1]).mean() > 0.1


def test_all_classes_occur(scenes):
    counts = sum(np.bincount(label.ravel(), minlength=256) for _, label in scenes)
    missing = [class_id for class_id in range(19) if counts[class_id] < 100]
    assert not missing


def test_few_pixels_are_ignored_and_all_at_the_bottom(scenes):
    for _, label in scenes:
        assert 0.01 < (label == 255).mean() < 0.1
        assert not (label[: SIZE[0] * 3 // 4] == 255).any()


def test_the_sky_is_above_the_road(scenes):
    for _, label in scenes:
        assert np.nonzero(label == 10)[0].mean() < 0.4 * SIZE[0]
        assert np.nonzero(label == 0)[0].mean() > 0.6 * SIZE[0]


def test_cars_stand_on_the_road(scenes):
    below = []
    for _, label in scenes:
        edges = (label[:-1] == 13) & (label[1:] != 13)
        below.append(label[1:][edges])
    below = np.concatenate(below)
    below = below[below != 255]
    assert (below == 0).mean() > 0.7


def test_nearer_cars_are_larger(scenes):
    heights = {"far": [], "near": []}
    for _, label in scenes:
        _, _, boxes, _ = cv2.connectedComponentsWithStats((label == 13).astype(np.uint8))
        for _, top, width, height, area in boxes[1:]:
            if area > 15 and width < SIZE[1] / 2:
                heights["near" if top + height > 0.65 * SIZE[0] else "far"].append(height)
    assert np.mean(heights["near"]) > 2 * np.mean(heights["far"])


def test_image_and_label_show_the_same_shapes(scenes):
    # Grey levels vary least within the classes when the label is exactly in place.
    def spread_within(shift, axis):
        spread = 0.0
        for image, label in scenes:
            grey, moved = image.mean(axis=2), np.roll(label, shift, axis)
            spread += sum(grey[moved == c].var() * (moved == c).mean() for c in np.unique(label))
        return spread

    for axis in (0, 1):
        in_place = spread_within(0, axis)
        assert all(in_place < spread_within(shift, axis) for shift in (-8, -1, 1, 8))


def test_an_existing_folder_is_refused_and_untouched(tmp_path):
    root = tmp_path / "scenes"
    root.mkdir()
    (root / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match=r"scenes exists already; remove it"):
        write_street_scenes(root, num_train=1, num_val=1, size=(64, 128))
    assert files_below(tmp_path) == {"scenes/mine.txt"}
    assert (root / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (63, 128)}, "height in size must be at least 64, got 63"),
        ({"size": (64, 127)}, "width in size must be at least 128, got 127"),
        ({"num_train": 0}, "num_train must be at least 1, got 0"),
        ({"num_val": -2}, "num_val must be at least 1, got -2"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_street_scenes(tmp_path / "scenes", **arguments)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "seed"), [((32, 128), 0), ((64, 64), 0), ((64, 128), -1)])
def test_a_scene_refuses_bad_arguments(size, seed):
    with pytest.raises(ValueError, match="must be at least"):
        draw_street_scene(size, seed)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full")])
def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch, error):
    write_png = street_scenes.write_png

    def fail_at_the_end(path, pixels):
        if "val" in path.parts:
            assert any(tmp_path.iterdir())  # something was there to be cleaned
            raise error
        write_png(path, pixels)

    monkeypatch.setattr(street_scenes, "write_png", fail_at_the_end)
    with pytest.raises(error if isinstance(error, type) else OSError):
        write_street_scenes(tmp_path / "scenes", num_train=1, num_val=1, size=(64, 128))
    assert not any(tmp_path.iterdir())


def test_command_line(tmp_path, capsys):
    main = runpy.run_path(str(TOOL))["main"]
    root = tmp_path / "scenes"
    arguments = [str(root), "--train", "1", "--val", "1", "--size", "64", "128"]
    main(arguments)
    assert str(root) in capsys.readouterr().out
    assert len(files_below(root)) == 4

    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "exists already" in lines[0]
