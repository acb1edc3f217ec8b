"""The GPU suite, rehearsed at small sizes: pieces run once, the next call goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "gpu_suite.py"


def suite(*arguments):
    done = subprocess.run(
        [sys.executable, str(TOOL), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_rehearsal(tmp_path):
    wanted = ["card", "op:upsample_argmax", "deterministic", "model:hrnetv2/*"]
    code, printed = suite(*wanted, "--tiny", "--out", tmp_path)
    assert code == 0, printed
    assert "deterministic: done" in printed
    file = tmp_path / "results.json"
    before = file.read_text()
    assert len(json.loads(before)) == 4
    code, printed = suite(*wanted, "--tiny", "--out", tmp_path)
    assert "done" not in printed
    assert file.read_text() == before
    code, printed = suite("--report", "--out", tmp_path)
    assert code == 0
    assert "Two deterministic runs are bit-identical." in printed
    assert "| upsample_argmax: 150x64x64 -> 512x512 | NCHW |" in printed


def test_the_time_is_over(tmp_path):
    code, printed = suite("card", "--tiny", "--minutes", "-1", "--out", tmp_path)
    assert code == 0
    assert "call again" in printed
    assert not list(tmp_path.iterdir())


def test_unknown_piece(tmp_path):
    code, printed = suite("op:nothing", "--out", tmp_path)
    assert code == 2
    assert "no piece op:nothing" in printed


def test_nothing_is_measured_without_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    code, printed = suite("card", "--out", tmp_path)
    assert code == 2
    assert "no GPU here; --tiny" in printed
    assert not list(tmp_path.iterdir())


def test_a_piece_that_ends_its_process_costs_no_other(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(TOOL.parent)
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # which it sets
    import gpu_suite

    monkeypatch.setattr(gpu_suite, "start_method", lambda: "fork")

    def crash():
        os.kill(os.getpid(), signal.SIGKILL)

    def fail():
        raise ValueError("too small")

    found = {"crash": crash, "fail": fail, "good": lambda: dict(value=1), "idle": lambda: None}
    monkeypatch.setattr(gpu_suite, "pieces", lambda *_: found)
    assert gpu_suite.run(["*"], tmp_path, 1, tiny=True, retry=False) == 1
    results = gpu_suite.results(tmp_path)
    assert set(results) == {"crash", "fail", "good"}
    assert results["crash"]["error"] == "the process ended with -9"
    assert "ValueError: too small" in results["fail"]["error"]
    assert results["good"] == dict(value=1)
    assert "too small" in gpu_suite.report(tmp_path)

    assert gpu_suite.run(["fail"], tmp_path, 1, tiny=True, retry=True) == 1
    assert "error" in gpu_suite.results(tmp_path)["fail"]
    found["fail"] = lambda: dict(value=2)
    assert gpu_suite.run(["fail"], tmp_path, 1, tiny=True, retry=False) == 0
    assert "error" in gpu_suite.results(tmp_path)["fail"]
    assert gpu_suite.run(["fail"], tmp_path, 1, tiny=True, retry=True) == 0
    assert gpu_suite.results(tmp_path)["fail"] == dict(value=2)

    assert gpu_suite.profile(tmp_path) is None  # before any model was measured

    found["slow"] = lambda: time.sleep(60)
    assert gpu_suite.run(["slow"], tmp_path, 0.05, tiny=True, retry=False) == 1
    assert gpu_suite.results(tmp_path)["slow"] == dict(error="takes longer than a call")
