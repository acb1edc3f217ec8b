"""The benchmark compares, measures and writes; a wrong result stops it."""

import importlib.util
import json
from functools import partial
from pathlib import Path

import pytest

from mmseg_papers import ops

FILE = Path(__file__).parents[2] / "tools" / "benchmark.py"


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    # Processes that measure memory find the tasks' functions by this name.
    monkeypatch.syspath_prepend(FILE.parent)
    monkeypatch.setitem(__import__("sys").modules, "benchmark", module)
    spec.loader.exec_module(module)
    return module


def task(benchmark, tolerance):
    argmax = importlib.import_module("benchmark_tasks.full_resolution").argmax
    make = partial(argmax, classes=19, low=(64, 64), high=(512, 512))
    return benchmark.Task("argmax", make, (tolerance,))


def test_measures_and_writes(benchmark, tmp_path, capsys):
    results = benchmark.measure(task(benchmark, 1e-4), repeats=1, threads=1)
    assert {(r.variant, r.layout) for r in results} == {
        (v, layout) for v in ("stock", "ours") for layout in ("NCHW", "channels_last")
    }
    stock, ours = results[0], results[2]
    assert stock.seconds > 0
    assert stock.extra_mib > 19 * 512 * 512 * 4 / 2**20 > 2 * ours.extra_mib
    benchmark.show(results)
    assert "argmax" in capsys.readouterr().out
    benchmark.write(results, tmp_path, "ops", threads=1)
    assert len(json.loads((tmp_path / "ops.json").read_text())["results"]) == 4
    assert (tmp_path / "ops.png").exists()


def test_numbers_and_legend_hide_nothing(benchmark, tmp_path, monkeypatch):
    results = [
        benchmark.Result("argmax", variant, layout, seconds, seconds, [0.0])
        for variant, seconds in (("stock", 1.0), ("ours", 1.5))
        for layout in benchmark.LAYOUTS
    ]
    figures = []
    monkeypatch.setattr(benchmark.plt, "close", figures.append)
    benchmark.write(results, tmp_path, "ops", threads=1)
    (legend,) = figures[0].legends
    for axis in figures[0].axes:
        assert axis.get_legend() is None
        assert not legend.get_window_extent().overlaps(axis.bbox)
        for number in axis.texts:
            assert number.get_window_extent().x1 < axis.bbox.x1


def test_a_config_without_a_model(benchmark, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty.py").write_text("x = 1")
    monkeypatch.setattr("sys.argv", ["benchmark.py", "model", str(tmp_path / "empty.py")])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "empty.py has no model; give the whole config" in capsys.readouterr().err


def test_a_wrong_result_stops_it(benchmark, monkeypatch):
    right = ops.upsample_argmax
    monkeypatch.setattr(ops, "upsample_argmax", lambda *args: right(*args) + 1)
    with pytest.raises(AssertionError, match=r"error .* against stock"):
        benchmark.measure(task(benchmark, 1e-4), repeats=1, threads=1)
