"""What every test runs under: one seed, one thread a worker, and no test left out unseen."""

import importlib
import os
import random

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.utils import digit_version

import mmseg_papers  # registers the modules
from mmseg_papers.checkpoints.checkpoint_globals import LIST_TAKES_NAMES

# Triton reads it when it is first imported. Its kernels run in its interpreter without a GPU.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def _imports(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def pytest_configure(config):
    # Tests run in parallel processes, so a process and what it starts take one core.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.backends.cudnn.allow_tf32 = False  # float32 is compared as such


def pytest_collection_modifyitems(config, items):
    """Deselect what this machine cannot run, so that a skip always means a mistake."""
    available = {
        "cuda": torch.cuda.is_available(),
        "onedl": mmseg_papers.LINE == "onedl",
        "compiled_mmcv": _imports("mmcv.ops"),
        "triton_interpreter": not torch.cuda.is_available()
        and _imports("triton.runtime.interpreter")
        # 3.0 to 3.4 and 3.6 fail, of themselves or with NumPy 2.4; 3.8 and 3.9 work.
        and digit_version(importlib.import_module("triton").__version__) >= digit_version("3.8"),
        "python_backend": not torch.cuda.is_available()
        and hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
        "torch_2_4": hasattr(torch.library, "custom_op"),
        "torch_2_5": hasattr(torch.library, "opcheck"),
        "torch_2_6": LIST_TAKES_NAMES,
        "torch_2_7": hasattr(torch.compiler, "is_exporting"),
    }
    lacking = [
        item
        for item in items
        if any(item.get_closest_marker(name) and not ok for name, ok in available.items())
    ]
    if lacking:
        config.hook.pytest_deselected(items=lacking)
        items[:] = [item for item in items if item not in lacking]


def pytest_sessionfinish(session, exitstatus):
    """Fail a run in which a test was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and reporter.stats.get("skipped") and exitstatus == 0:
        reporter.write_line("a test was skipped: deselect it by a marker instead", red=True)
        session.exitstatus = 1


@pytest.fixture(autouse=True)
def _seed_and_scope():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    init_default_scope("mmseg")
