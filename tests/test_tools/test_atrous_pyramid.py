"""The analysis of a pyramid gives DenseASPP's table and DeepLabV3's figure 4."""

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "tools" / "analysis_tools" / "atrous_pyramid.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("atrous_pyramid", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["atrous_pyramid"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["atrous_pyramid"]


def test_dense_pyramid(tool):
    layers = tool.pyramid((3, 6, 12, 18, 24), dense=True)
    assert [layer.receptive_field for layer in layers] == [7, 19, 43, 79, 127]
    assert [len(layer.offsets) for layer in layers] == [3, 7, 15, 27, 43]
    assert [round(layer.density, 2) for layer in layers] == [0.43, 0.37, 0.35, 0.34, 0.34]
    fields = tool.receptive_fields((3, 6, 12, 18, 24), dense=True)
    assert fields == list(range(7, 128, 6))


def test_parallel_pyramid(tool):
    layers = tool.pyramid((6, 12, 18), dense=False)
    assert [layer.receptive_field for layer in layers] == [13, 25, 37]
    assert [len(layer.offsets) for layer in layers] == [3, 3, 3]
    assert tool.receptive_fields((6, 12, 18), dense=False) == [13, 25, 37]


def test_a_filter_degenerates_to_its_centre(tool):
    """Figure 4: on a 65 x 65 map, as the rate grows to the map's size."""
    assert tool.valid_weights(65, 65)[1] == 1
    assert tool.valid_weights(1, 65)[9] == pytest.approx((63 / 65) ** 2)
    for rate in (1, 20, 40, 64):
        assert sum(tool.valid_weights(rate, 65).values()) == pytest.approx(1)


@pytest.mark.parametrize("suffix", ["", ".png"])
def test_command(tool, tmp_path, monkeypatch, capsys, suffix):
    target = tmp_path / "plots" / "pyramid.png"
    out = target.with_suffix(suffix)
    arguments = ["--rates", "3", "6", "--dense", "--size", "9", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["atrous_pyramid.py", *arguments])
    tool.main()
    printed = capsys.readouterr().out
    assert "3 distinct receptive fields on the paths: 7, 13, 19" in printed
    assert f"wrote {target} and " in printed
    assert target.stat().st_size > 0
    assert len(target.with_suffix(".csv").read_text().splitlines()) == 10
    monkeypatch.setattr(sys, "argv", ["atrous_pyramid.py", "--rates", "0"])
    with pytest.raises(SystemExit):
        tool.main()
