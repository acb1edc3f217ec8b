"""The check of the OpenMMLab line: one error that names the distributions and the cure."""

import pytest

from mmseg_papers import stack

ONEDL = {"onedl-mmengine": "0.10.12", "onedl-mmcv": "2.3.6", "onedl-mmsegmentation": "1.4.2"}
OPENMMLAB = {"mmengine": "0.10.7", "mmcv": "2.1.0", "mmsegmentation": "1.2.2"}


def line_of(monkeypatch, installed):
    monkeypatch.setattr(stack, "installed_version", installed.get)
    return stack.installed_line()


@pytest.mark.parametrize(("installed", "line"), [(ONEDL, "onedl"), (OPENMMLAB, "openmmlab")])
def test_finds_the_line(monkeypatch, installed, line):
    assert line_of(monkeypatch, installed) == line


def test_none_installed(monkeypatch):
    with pytest.raises(ImportError, match=r"none is installed.*onedl-mmsegmentation.*pip install"):
        line_of(monkeypatch, {})


def test_both_installed(monkeypatch):
    with pytest.raises(RuntimeError, match=r"onedl-mmcv 2.3.6.*pip uninstall -y .*mmsegmentation"):
        line_of(monkeypatch, ONEDL | OPENMMLAB)


def test_a_part_of_the_other_line(monkeypatch):
    with pytest.raises(RuntimeError, match=r"two lines.*, mmcv 2.1.0\)"):
        line_of(monkeypatch, ONEDL | {"mmcv": "2.1.0"})


def test_a_distribution_missing(monkeypatch):
    with pytest.raises(ImportError, match=r"without onedl-mmcv.*mmseg-papers\[onedl\]"):
        line_of(monkeypatch, {k: v for k, v in ONEDL.items() if k != "onedl-mmcv"})


@pytest.mark.parametrize("version", ["2.3.5", "2.4.0"])
def test_a_version_outside_the_range(monkeypatch, version):
    with pytest.raises(RuntimeError, match=rf"onedl-mmcv >= 2.3.6, < 2.4, but {version} is inst"):
        line_of(monkeypatch, ONEDL | {"onedl-mmcv": version})


@pytest.mark.parametrize(
    ("distribution", "cure"),
    [("mmcv", "bash requirements/openmmlab.sh"), ("mmengine", "pip install 'mmengine>=0.10.7,")],
)
def test_the_cure_compiles_mmcv_of_the_openmmlab_line(monkeypatch, distribution, cure):
    with pytest.raises(RuntimeError, match=rf"but 9.0 is installed. Cure: {cure}"):
        line_of(monkeypatch, OPENMMLAB | {distribution: "9.0"})


@pytest.mark.parametrize("version", ["2.3.10", "2.3.6+cpu", "2.3.7.post1"])
def test_versions_are_compared_as_numbers(monkeypatch, version):
    assert line_of(monkeypatch, ONEDL | {"onedl-mmcv": version}) == "onedl"
