"""The GPU suite, rehearsed at small sizes: pieces run once, the next call goes on."""

import subprocess
import sys
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
    before = {f.name: f.stat().st_mtime_ns for f in tmp_path.glob("*.json")}
    assert len(before) == 4
    code, printed = suite(*wanted, "--tiny", "--out", tmp_path)
    assert "done" not in printed
    assert {f.name: f.stat().st_mtime_ns for f in tmp_path.glob("*.json")} == before
    code, printed = suite("--report", "--out", tmp_path)
    assert code == 0
    assert "Two deterministic runs are bit-identical." in printed
    assert "| upsample_argmax: 150x64x64 -> 512x512 | NCHW |" in printed


def test_the_time_is_over(tmp_path):
    code, printed = suite("card", "--minutes", "-1", "--out", tmp_path)
    assert code == 0
    assert "call again" in printed
    assert not list(tmp_path.iterdir())


def test_unknown_piece(tmp_path):
    code, printed = suite("op:nothing", "--out", tmp_path)
    assert code == 2
    assert "no piece op:nothing" in printed
