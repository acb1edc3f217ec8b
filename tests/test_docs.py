"""The documentation: links lead somewhere, names exist, the commands and the notebook run."""

import importlib
import inspect
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import mmengine.registry
import mmseg.registry
import numpy as np
import pytest
from mmengine.registry import Registry

import mmseg_papers.models
from mmseg_papers import ops
from mmseg_papers.apis.configs import CONFIGS, packaged_configs

from . import test_faults

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAPERS = sorted(file.parent.name for file in CONFIGS.glob("[!_]*/metafile.yaml"))
PAGES = sorted(
    str(file.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "docs/papers/*.md", "docs/reference/**/*.md")
    for file in ROOT.glob(pattern)
) + [f"configs/{paper}/README.md" for paper in PAPERS]
#: A code block: language or directive, what follows it, the block.
FENCE = re.compile(r"^ *```(\{?[\w-]*\}?)(.*?)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
CONFIG = re.compile(r"(?<![\w/.-])([a-z][\w.+-]*_\d+xb\d+-\w+_[a-z][a-z\d-]*-\d+x\d+)(?![\w-])")
INSTALLING = ("pip install ", "python3 -m venv ", "source ", "bash ", "make ")


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page):
    """A page without its code blocks."""
    return FENCE.sub("", read(page))


def code(page, *languages):
    """The code blocks of a page in these languages."""
    return [body for language, _, body in FENCE.findall(read(page)) if language in languages]


def anchors(page):
    """What a link to a heading of a page may end in, as GitHub and the site make it."""
    included = [
        os.path.normpath(Path(page).parent / file.strip())
        for directive, file, _ in FENCE.findall(read(page))
        if directive == "{include}"
    ]
    text = "".join(prose(file) for file in (page, *included))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {path}, which does not exist"
        if anchor:
            assert anchor in anchors(os.path.relpath(target, ROOT)), (
                f"{page}: no heading for {link}"
            )


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_left_to_be_filled_in(page):
    left = re.findall(r"^(?:@?[A-Z_]{4,}@?|TODO.*)$", read(page), re.MULTILINE)
    assert not left, f"{page} still holds {left}"


MMSEG_CONFIGS = {f.stem for f in Path(mmseg.__path__[0], ".mim", "configs").rglob("*.py")}


@pytest.mark.parametrize("page", PAGES)
def test_configs_and_files_exist(page):
    text = read(page)
    for name in set(CONFIG.findall(text)):
        assert name in packaged_configs().keys() | MMSEG_CONFIGS, f"{page} names config {name}"
    for path in re.findall(
        r"(?<![\w/.])((?:configs|docs|requirements|tests|tools)/[\w/.+-]+\.\w+)", text
    ):
        assert (ROOT / path).exists(), f"{page} names {path}"


REGISTRIES = [
    registry
    for module in (mmseg.registry, mmengine.registry)
    for registry in vars(module).values()
    if isinstance(registry, Registry)
]


# CHANGELOG.md names a type that mmcv registers only where its operations are compiled.
@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_types_are_registered(page):
    for name in set(re.findall(r"""\btype=["']([\w.]+)["']""", read(page))):
        assert any(registry.get(name) for registry in REGISTRIES), f"{page} names type {name}"


@pytest.mark.parametrize("page", PAGES)
def test_imports_and_dotted_names_exist(page):
    for block in code(page, "python"):
        for module, names in re.findall(r"^ *from (mmseg_papers[\w.]*) import (.+)$", block, re.M):
            for name in re.findall(r"\w+", names):
                assert hasattr(importlib.import_module(module), name), f"{page}: {module}.{name}"
    for name in re.findall(r"`(?:mmseg_papers\.)?ops\.(\w+)`", prose(page)):
        assert hasattr(ops, name), f"{page} names ops.{name}"


def parameters(cls):
    """Names that a class's constructor, or one that it passes keywords on to, takes."""
    return {name for base in cls.__mro__ for name in inspect.signature(base.__init__).parameters}


@pytest.mark.parametrize("page", [f"configs/{paper}/README.md" for paper in PAPERS])
def test_options_in_the_tables_of_classes_exist(page):
    public = {
        name: getattr(package, name)
        for package in (*vars(mmseg_papers.models).values(), mmseg_papers.datasets)
        for name in getattr(package, "__all__", ())
    }
    for name, text in re.findall(r"`(\w+)` \(options? ([^)]*)\)", read(page)):
        for option in re.findall(r"`(\w+)`", text):
            assert option in parameters(public[name]), f"{page}: {name} has no option {option}"


def test_settings_for_processes_on_the_cpu_are_those_of_the_base_file():
    settings = (CONFIGS / "_base_" / "cpu_distributed.py").read_text().partition("runner_type")
    assert "".join(settings[1:]) in code("docs/distributed.md", "python")


def test_every_operation_is_explained():
    page = read("docs/reference/operations.md")
    functions = {n for n in ops.__all__ if n[0].islower() and not n.endswith("_reference")}
    assert not {name for name in functions if f"`{name}`" not in page}


def test_every_paper_has_a_page_and_a_figure(tmp_path):
    subprocess.run([sys.executable, DOCS / "figures.py", tmp_path], check=True)
    assert sorted(file.stem for file in tmp_path.iterdir()) == PAPERS
    for paper in PAPERS:
        page = read(f"docs/papers/{paper}.md")
        assert f"../images/papers/{paper}.svg" in page
        assert page.count(f"../../configs/{paper}/README.md") == 2, "idea and the rest of the card"
        assert f"papers/{paper}\n" in read("docs/index.md")


def test_results_are_those_of_the_runs():
    runs = json.loads(read("docs/results_camvid.json"))
    text = read("docs/results.md")
    rows = re.findall(r"^\| ([\w' -]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.M)
    expected = []
    for name, seeds in runs.items():
        first = seeds[0]
        scores = [f"{seed['curve'][-1][1]:.2f}" for seed in seeds]
        tests = [f"{seed['test']:.2f}" for seed in seeds]
        expected.append((name, f"{first['parameters_m']:.2f}", scores[0], tests[0]))
        for score, test in zip(scores[1:], tests[1:], strict=True):
            assert f"{score} and {test}" in " ".join(text.split()), name
    assert rows == expected
    read_me = " ".join(read("README.md").split())
    assert [row[0] for row in rows if f"{row[2]}, {row[3]}" not in read_me] == []


def test_cards_repeat_the_results():
    rows = re.findall(r"^\| ([\w-]+) \| [\d.]+ \| (.*) \| (.*) \|$", read("docs/results.md"), re.M)
    assert len(rows) > 12
    for name, val, test in rows:
        card = packaged_configs()[name].parent / "README.md"
        assert f"{val} mIoU on val and {test} on test" in " ".join(read(card).split()), name


def test_reliability_counts_the_faults():
    data, options = test_faults.DATA, test_faults.DATA_OPTIONS
    runs = test_faults.COMMANDS, test_faults.TOOLS, test_faults.PROCESSES
    faults = [
        len(data),
        len(test_faults.ABSENT) * 2 + 1,  # missing and empty; Cityscapes without its labels
        *map(len, (options, test_faults.MODEL_OPTIONS, test_faults.CONFIGS)),
        *map(len, (test_faults.CHECKPOINTS, test_faults.IMAGES)),
        sum(map(len, runs)),
    ]
    tests = [2 * len(data), *faults[1:]]
    section = read("docs/reliability.md").partition("## Bad input")[2]
    table = re.findall(r"^\| .+ \| (\d+) \| (\d+) \|$", section, re.MULTILINE)
    assert [tuple(map(int, row)) for row in table] == [
        *zip(faults, tests, strict=True),
        (sum(faults), sum(tests)),
    ]


def commands(page, heading=None):
    """The commands in a page's shell blocks, or in those below a heading."""
    text = read(page)
    if heading is not None:
        text = re.split(r"^## ", text.partition(f"## {heading}\n")[2], maxsplit=1, flags=re.M)[0]
        assert text, f"{page} has no heading {heading!r}"
    blocks = [body for kind, _, body in FENCE.findall(text) if kind in ("shell", "bash")]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [part for line in lines for part in line.split(" && ") if part.strip()]


#: Pages whose commands a newcomer follows from top to bottom, and the heading they are under.
PATHS = [("docs/get_started.md", None), ("README.md", "Two commands")]


@pytest.mark.parametrize(("page", "heading"), PATHS)
def test_installing_commands_are_well_formed(page, heading):
    setup = read("setup.py")
    installing = [c for c in commands(page, heading) if c.startswith(INSTALLING)]
    assert any(command.startswith("pip install ") for command in installing)
    for command in installing:
        program, *arguments = shlex.split(command, comments=True)
        if program == "pip":
            for extra in re.findall(r"\[(\w+)\]", command):
                assert f'"{extra}": ' in setup, f"{command}: no such extra"
        elif program == "bash":
            assert (ROOT / arguments[0]).is_file(), command
        elif program == "make":
            assert re.search(rf"^{arguments[0]}:", read("Makefile"), re.MULTILINE), command


def run_as_written(written, folder):
    """What the commands print; a failure of one ends the test."""
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(written)],
        cwd=folder,
        env=dict(
            os.environ,
            PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            PYTHONPATH=str(ROOT),
            CUDA_VISIBLE_DEVICES="-1",
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-5000:]
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("page", "heading"), PATHS)
def test_newcomers_path_runs_as_written(page, heading, tmp_path):
    for entry in ROOT.iterdir():
        if entry.name not in ("data", "work_dirs"):
            (tmp_path / entry.name).symlink_to(entry)
    written = [c for c in commands(page, heading) if not c.startswith(INSTALLING)]
    printed = run_as_written(written, tmp_path)
    scores = [float(score) for score in re.findall(r"mIoU: (\d+\.\d+)", printed)]
    assert scores
    assert scores[-1] > 5, "a constant prediction gets 1.5"
    if page == "docs/get_started.md":
        assert len(list((tmp_path / "work_dirs/first/seen/overlay").iterdir())) == 12


@pytest.mark.slow
def test_readme_without_a_clone_runs_as_written(tmp_path):
    """Its commands of the package, with a folder of images; what needs weights is left out."""
    for split, kind in itertools.product(("train", "val"), ("images", "annotations")):
        file = tmp_path / "data" / "street" / kind / split / "0.png"
        file.parent.mkdir(parents=True)
        cv2.imwrite(str(file), np.arange(64 * 64, dtype=np.uint8).reshape(64, 64) // 2 % 2)
    ours = re.compile(r"(python -m|mim run) mmseg_papers (?!predict)")
    written = [command for command in commands("README.md") if ours.match(command)]
    assert len(written) > 5
    printed = run_as_written(written, tmp_path)
    assert "ocrnet_hrnetv2-w48_4xb4-150k_ade20k-520x520" in printed
    assert "road" in printed
    assert len(list(tmp_path.glob("*.py"))) == 2


@pytest.mark.slow
def test_site_builds_without_warnings_and_runs_the_notebook(tmp_path):
    site = tmp_path / "html"
    result = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-b", "html", DOCS, site],
        env=dict(os.environ, PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES="-1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-5000:]
    notebook = (site / "notebooks" / "first_model.html").read_text(encoding="utf-8")
    assert notebook.count("<img") >= 2, "the loss and the prediction"
    assert "of the pixels, mean confidence" in notebook
    page = (site / "papers" / "cpnet.html").read_text(encoding="utf-8")
    assert (
        'href="../reference/api/decode_heads.html#mmseg_papers.models.decode_heads.CPHead"' in page
    )
    assert 'href="../reference/api/ops.html#mmseg_papers.ops.affinity_loss"' in page
