"""Counts of the published models, and what the tool finds wrong."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from mmseg_papers.apis import entries, entry

FILE = Path(__file__).parents[2] / "tools" / "verify_tables.py"
SMALL = "espnetv2-s2_4xb4-120k_cityscapes-256x512"
PUBLISHED = [e for e in entries() if e.published]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("verify_tables", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("found", PUBLISHED, ids=lambda e: e.name)
def test_counts_are_the_published_ones_or_explained(tool, found):
    assert tool.faults(found, *tool.count(found)) == []


def test_every_paper_with_published_counts_is_there():
    names = {e.paper.name for e in PUBLISHED}
    # RefineNet's full models: no count of theirs was found.
    assert {e.paper.name for e in entries()} - names == {"RefineNet"}


def test_prints_a_row_for_each_published_count(tool, capsys):
    assert tool.main([SMALL]) == 0
    _, _, *rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[:5] for row in rows] == [
        [SMALL, "Parameters (M)", "0.79", "0.79", "0"],
        [SMALL, "Multiply-adds (M)", "674.46", "674.78", "-0.32"],
    ]
    assert "readme of Xilinx/DSRL" in rows[1]


def test_finds_wrong_and_unexplained_counts(tool, monkeypatch, capsys):
    found = entry(SMALL)
    parameters, operations = found.published
    wrong = replace(
        found,
        multiply_adds=1.0,
        published=(
            {**parameters, "Difference": "none"},
            {k: v for k, v in operations.items() if k != "Difference"},
        ),
    )
    monkeypatch.setattr(tool, "entries", lambda pattern: [wrong])
    assert tool.main([]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{SMALL}: Multiply-adds (G) is 0.67, its metafile says 1.0",
        f"{SMALL}: Parameters (M) 0.79 against 0.79 is explained, but equal",
        f"{SMALL}: Multiply-adds (M) 674.46 against 674.78 is not explained",
    ]
