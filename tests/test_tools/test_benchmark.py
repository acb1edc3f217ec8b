"""The benchmark compares, measures and writes; a wrong result stops it."""

import importlib.util
import json
import os
import signal
from functools import partial
from inspect import getclosurevars
from pathlib import Path

import pytest
import torch
from mmseg.models.backbones import MobileNetV2
from mmseg.registry import MODELS
from torch import nn

from mmseg_papers import ops
from mmseg_papers.apis.configs import packaged_configs, resolved_config
from mmseg_papers.models.decode_heads import RefineNetHead

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
    benchmark.show(results, "stock PyTorch")
    assert "argmax" in capsys.readouterr().out
    benchmark.write(results, "stock PyTorch", tmp_path, "ops", threads=1)
    assert len(json.loads((tmp_path / "ops.json").read_text())["results"]) == 4
    assert (tmp_path / "ops.png").exists()


def test_a_training_step_leaves_no_gradients(benchmark):
    """They would be held before the next one, whose memory is measured from there."""
    blocks, denseaspp, refinenet = (
        importlib.import_module(f"benchmark_tasks.{name}")
        for name in ("residual_blocks", "denseaspp", "refinenet")
    )
    config = "hrnetv2_w18-small-v1_4xb3-120k_cityscapes-512x1024"
    for make in (
        partial(benchmark.train_step, file=config, size=(64, 64), batch=2, compiled=False),
        partial(blocks.train_step, backbone=MobileNetV2, size=(64, 64)),
        partial(denseaspp.train_step, size=(64, 64), with_cp=False),
        partial(refinenet.network, head=RefineNetHead, size=64, training=True),
    ):
        run = make("ours", torch.contiguous_format)
        run()
        held = getclosurevars(run).nonlocals.values()
        modules = [module for module in held if isinstance(module, nn.Module)]
        assert modules
        assert not [p for module in modules for p in module.parameters() if p.grad is not None]


def test_numbers_and_legend_hide_nothing(benchmark, tmp_path, monkeypatch):
    results = [
        benchmark.Result("argmax", variant, layout, seconds, seconds, [0.0], True)
        for variant, seconds in (("stock", 1.0), ("ours", 1.5))
        for layout in benchmark.LAYOUTS
    ]
    figures = []
    monkeypatch.setattr(benchmark.plt, "close", figures.append)
    benchmark.write(results, "stock PyTorch", tmp_path, "ops", threads=1)
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


def test_a_wrong_result_is_measured_and_fails(benchmark, tmp_path, monkeypatch, capsys):
    right = ops.upsample_argmax
    monkeypatch.setattr(ops, "upsample_argmax", lambda *args: right(*args) + 1)
    monkeypatch.setattr(benchmark, "op_tasks", lambda names: [task(benchmark, 1e-4)])
    call = ["ops", "upsample_argmax", "--repeats", "1", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["benchmark.py", *call])
    with pytest.raises(SystemExit) as stop:
        benchmark.main()
    assert stop.value.code == 1
    assert "ours does not equal stock:\nargmax NCHW: [1.0]" in capsys.readouterr().err
    written = json.loads((tmp_path / "ops.json").read_text())["results"]
    assert [row["agrees"] for row in written] == [False] * 4


#: Our segmentors that compute what mmseg's cannot; the first one with ``norm_eval`` only.
WITHOUT_STOCK = {
    "AtrousEncoderDecoder",
    "DSRLEncoderDecoder",
    "FlipSlideEncoderDecoder",
    "HeightAttentionEncoderDecoder",
}


def shapes(benchmark, model, variant):
    with torch.device("meta"):
        built = benchmark.build_variant(model, variant)
    return {name: value.shape for name, value in built.state_dict().items()}


def test_stock_is_of_mmseg_and_names_what_is_ours(benchmark):
    built = {}
    for name in packaged_configs():
        model = resolved_config(name).model
        stock = benchmark.stock_model(model)
        is_mmsegs = stock.type in benchmark.FUSED_SEGMENTORS
        assert is_mmsegs or stock.type in WITHOUT_STOCK, name
        heads = stock.decode_head if isinstance(stock.decode_head, list) else [stock.decode_head]
        kernels = (head.get("kernel_size") for head in heads)
        kind = (stock.type, *stock.backbone, *(part.type for part in (stock.backbone, *heads)))
        kind = (*kind, *kernels)
        if kind not in built:
            built[kind] = benchmark.describe_stock(model)
            assert is_mmsegs != (stock.type in built[kind]), name
            assert shapes(benchmark, model, "stock") == shapes(benchmark, model, "ours"), name
    texts = set(built.values())
    assert {
        "mmseg with the plain forms of WeightedCrossEntropyLoss",
        "mmseg with the plain forms of AtrousResNet, DeepLabV3Head",
        "mmseg with the plain forms of PluginResNetV1c, StripPoolingModule",
    } < texts


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deeplabv3_r50-mg124_1xb8-20k_camvid-360x480", {"model.output_stride": 8}),
        ("hrnetv2_w48-fusion-final_4xb3-120k_cityscapes-512x1024", {}),
        (
            "ocrnet-b_hrnetv2-w48_4xb3-120k_cityscapes-512x1024",
            {"model.backbone.new_stream_from": "all"},
        ),
    ],
)
def test_stock_of_a_model_computes_the_same(name, options, benchmark, monkeypatch):
    config = resolved_config(name)
    config.merge_from_dict(options)
    monkeypatch.setattr(benchmark, "resolved_config", lambda _: config)
    (task,) = benchmark.model_tasks(name, (64, 96), 1, "evaluate")
    layout = benchmark.LAYOUTS["NCHW"]
    (stock,), (ours,) = (task.make(variant, layout)() for variant in ("stock", "ours"))
    assert stock.unique().numel() > 1
    assert benchmark.relative_error(ours, stock) <= task.tolerances[0]


def test_memory_alone(benchmark, tmp_path, monkeypatch, capsys):
    measured = {("stock", "NCHW"): 300.0, ("ours", "NCHW"): 150.0}
    monkeypatch.setattr(benchmark, "peaks", lambda *args: measured)
    hrnet, dsrl = (
        "hrnetv2_w18-small-v2_1xb8-20k_camvid-360x480",
        "dsrl_espnetv2-s2-in180x240_1xb8-20k_camvid-360x480",
    )
    argv = ["benchmark.py", "memory", hrnet, dsrl, "--batch", "3", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", argv)
    benchmark.main()
    of_hrnet, of_dsrl = json.loads((tmp_path / "memory.json").read_text())["results"]
    assert of_hrnet["config"] == hrnet
    assert of_hrnet["size"] == [384, 480], "mmseg's HRNet needs multiples of 32"
    assert of_dsrl["size"] == [360, 480]
    assert of_dsrl["batch"] == 3
    weights = MODELS.build(resolved_config(dsrl).model).parameters()
    assert of_dsrl["gradient_mib"] == sum(p.numel() for p in weights) * 4 / 2**20
    printed = capsys.readouterr().out
    assert hrnet in printed
    assert "mmseg with the plain forms of Conv1x1OfUpsampledConcat" in printed
    assert printed.count("0.50") == 2


def killed(variant, layout):
    """Make a task as where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_memory_runs_out(benchmark):
    with pytest.raises(
        RuntimeError, match=r"large, ours NCHW: .* give a smaller --size or --batch"
    ):
        benchmark.peaks(benchmark.Task("large", killed, ()), [("ours", "NCHW")], threads=1)


def test_size(benchmark, tmp_path):
    hrnet = resolved_config("hrnetv2_w18_4xb3-120k_cityscapes-512x1024")
    assert benchmark.image_size(hrnet, None) == (512, 1024)
    assert benchmark.image_size(hrnet, [64, 96]) == (64, 96)
    with pytest.raises(ValueError, match=r"--size are multiples of 32"):
        benchmark.image_size(hrnet, [64, 100])
    (tmp_path / "no_crop.py").write_text(f"model = {hrnet.model.to_dict()}")
    with pytest.raises(ValueError, match=r"no_crop\.py has no crop_size; give --size"):
        benchmark.image_size(resolved_config(tmp_path / "no_crop.py"), None)
