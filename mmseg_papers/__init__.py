"""Semantic-segmentation papers for MMSegmentation: importing registers every module."""

import importlib
import io
import sys
import warnings
from contextlib import redirect_stdout
from types import ModuleType

from .stack import installed_line

#: The OpenMMLab line this process runs on: ``'onedl'`` or ``'openmmlab'``.
LINE = installed_line()

# A pure mmcv advises at each import to install another one; `python -m mmseg_papers check` says
# what it lacks, and a config that needs it says so, too.
warnings.filterwarnings("ignore", "Fail to import ``MultiScaleDeformableAttention``")

# onedl-mmsegmentation 1.4.2 prints that it lacks OneDL's own data sets while it is imported; on
# stdout that would end up in `python -m mmseg_papers config NAME > config.py`.
_printed = io.StringIO()
try:
    with redirect_stdout(_printed):
        from . import datasets, engine, models
finally:
    sys.stderr.write(_printed.getvalue().replace("Could not import OneDL\n", ""))

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    """Import ``apis`` when it is asked for; training does without."""
    if name != "apis":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(".apis", __name__)


__all__ = ["LINE", "__version__", "datasets", "engine", "models"]
