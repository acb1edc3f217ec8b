"""Wheel, wheel from the sdist and editable install: ``.mim`` is right, also from another folder."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
SOURCES = (
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "model-index.yml",
    "mmseg_papers",
    "configs",
    "tools",
)
CONFIG = "configs/hrnetv2/hrnetv2_w48_4xb3-120k_cityscapes-512x1024.py"


def run(*command, cwd):
    result = subprocess.run(
        [str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture
def checkout(tmp_path):
    """The sources as a clone holds them, relative links included."""
    target = tmp_path / "checkout"
    target.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(source, target / name)
    return target


@pytest.fixture
def fresh(tmp_path):
    """Python of a new environment that sees what is installed here, but not this package."""
    environment = tmp_path / "venv"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    site = run(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=tmp_path).strip()
    # A path line adds the folder without running its .pth files, so no editable install is seen.
    Path(site, "dependencies.pth").write_text(str(Path(torch.__file__).parents[1]))
    return python


def install(python, checkout, kind):
    """Install the checkout into ``python``'s environment."""
    pip_install = [python, "-m", "pip", "install", "--no-deps", "--no-index"]
    if kind == "editable":
        run(*pip_install, "--no-build-isolation", "-e", checkout, cwd="/")
        return
    dist = checkout.parent / "dist"
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, checkout]
    # Without --wheel, `build` makes the wheel from the sdist it has just made.
    run(*command, *(["--wheel"] if kind == "wheel" else []), cwd=checkout.parent)
    run(*pip_install, *dist.glob("*.whl"), cwd="/")
    shutil.rmtree(checkout)


@pytest.mark.parametrize("kind", ["wheel", "wheel from sdist", "editable"])
def test_installs_and_runs_elsewhere(kind, checkout, fresh, tmp_path):
    install(fresh, checkout, kind)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    package = Path(
        run(fresh, "-c", "import mmseg_papers; print(mmseg_papers.__path__[0])", cwd=elsewhere)
        .strip()
        .splitlines()[-1]
    )
    assert package.is_relative_to(checkout if kind == "editable" else fresh.parents[1])
    mim = package / ".mim"
    assert "configs/hrnetv2/metafile.yaml" in (mim / "model-index.yml").read_text()
    for tree in ("configs", "tools"):
        shipped = {p.relative_to(mim) for p in (mim / tree).rglob("*.*") if p.suffix != ".pyc"}
        tracked = {p.relative_to(ROOT) for p in (ROOT / tree).rglob("*.*") if p.suffix != ".pyc"}
        assert shipped == tracked
    run(fresh, "-m", "mmseg_papers", "config", Path(CONFIG).stem, "--dest", ".", cwd=elsewhere)
    assert (elsewhere / Path(CONFIG).name).exists()
    shown = run(fresh, "-m", "pip", "show", "mmseg-papers", cwd=elsewhere)
    assert "License: Apache-2.0" in shown or "License-Expression: Apache-2.0" in shown
