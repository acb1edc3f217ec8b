"""Classes under OpenMMLab's names, and a project's own that were there before."""

import re
import subprocess
import sys
from pathlib import Path

from mmengine.registry import Registry
from mmseg.registry import DATASETS, TRANSFORMS

from mmseg_papers.datasets.replacing import replaces

GUIDE = Path(__file__).parents[2] / "docs" / "existing_project.md"
PROJECT = """
import mmseg.datasets
from mmseg.registry import DATASETS, TRANSFORMS

@TRANSFORMS.register_module()
class LoadImageFromFile: ...

@DATASETS.register_module(force=True)
class CityscapesDataset: ...

import mmseg_papers
assert TRANSFORMS.get("LoadImageFromFile") is LoadImageFromFile
assert DATASETS.get("CityscapesDataset") is CityscapesDataset
"""


class Original: ...


def test_takes_the_place_of_the_original():
    root = Registry("root", scope="replacing")
    child = Registry("child", parent=root, scope="replacing")
    root.register_module(module=Original)
    ours = replaces(Original, child)(type("Ours", (Original,), {}))
    assert (child.get("Original"), root.get("Original")) == (ours, Original)


def test_a_project_keeps_its_class():
    registry = Registry("own", scope="replacing")
    own = registry.register_module(name="Original", module=type("Own", (), {}))
    ours = replaces(Original, registry)(type("Ours", (Original,), {}))
    assert registry.get("Original") is own is not ours


def test_a_project_keeps_its_classes_when_it_imports_the_package():
    subprocess.run([sys.executable, "-c", PROJECT], check=True, capture_output=True)


def test_the_guide_lists_the_names():
    replaced = {
        name
        for registry in (DATASETS, TRANSFORMS)
        for name, cls in registry.module_dict.items()
        if cls.__module__.startswith("mmseg_papers.") and cls.__name__ != name
    }
    introduction = GUIDE.read_text().split("\n## ")[0]
    assert replaced and replaced <= {*re.findall(r"`(\w+)`", introduction)}
