"""Types of command line arguments, for ``argparse``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def output_folder(path: str) -> Path:
    """A folder to write into, which may not exist yet.

    Raises:
        argparse.ArgumentTypeError: If it cannot be made or written to.
    """
    there = next(p for p in (Path(path), *Path(path).absolute().parents) if p.exists())
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"{there} is a file; name a folder")
    if not os.access(there, os.W_OK):
        raise argparse.ArgumentTypeError(f"{there} cannot be written to; name another folder")
    return Path(path)


def picture_file(path: str) -> Path:
    """A picture to write; a name without a picture's suffix gets ``.png``."""
    from matplotlib.backend_bases import FigureCanvasBase

    formats = FigureCanvasBase.get_supported_filetypes()
    return Path(path if Path(path).suffix[1:].lower() in formats else f"{path}.png")


def positive(text: str) -> int:
    """A whole number above 0.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def key_value(text: str) -> str:
    """An option and its value, for ``DictAction``.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} must be KEY=VALUE")
    return text
