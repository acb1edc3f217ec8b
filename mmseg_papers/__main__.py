"""Command line: ``python -m mmseg_papers check`` and ``python -m mmseg_papers config``."""

from __future__ import annotations

import argparse
import difflib
import importlib
import platform
import sys
from pathlib import Path

import torch
from mmengine.config import Config

from . import LINE, __version__
from .stack import LINES, installed_version

CONFIGS = Path(__file__).parent / ".mim" / "configs"


def environment() -> dict[str, str]:
    """What this package runs on.

    Returns:
        dict[str, str]: Part -> its version or state.
    """
    try:
        importlib.import_module("mmcv.ops")
        compiled = "yes"
    except ImportError as error:
        compiled = f"no ({error}); only configs that ask for an mmcv operation need them"
    distributions = (distribution for distribution, _, _ in LINES[LINE].values())
    return {
        "mmseg-papers": __version__,
        "line": f"{LINE}: " + ", ".join(f"{d} {installed_version(d)}" for d in distributions),
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "mmcv operations": compiled,
        "Triton": installed_version("triton") or "no; only CUDA kernels need it",
        "GPU": ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        or "none; everything runs on the CPU",
    }


def packaged_configs() -> dict[str, Path]:
    """The configs that come with the package.

    Returns:
        dict[str, Path]: Name without ``.py`` -> file, without the shared parts of ``_base_``.
    """
    files = sorted(CONFIGS.glob("[!_]*/*.py"))
    return {file.stem: file for file in files}


def resolved_config(name: str) -> Config:
    """A packaged config with its bases merged in, so that it stands alone.

    Args:
        name (str): Its name, with or without ``.py`` and folder.

    Returns:
        Config: The config.

    Raises:
        ValueError: If there is no such config; names the nearest ones.
    """
    configs = packaged_configs()
    stem = Path(name).name.removesuffix(".py")
    if stem not in configs:
        near = difflib.get_close_matches(stem, configs, n=3, cutoff=0.3)
        raise ValueError(
            f"no config {stem!r} in mmseg-papers {__version__}. "
            + (f"Did you mean {', '.join(near)}? " if near else "")
            + "`python -m mmseg_papers config` lists all"
        )
    return Config.fromfile(configs[stem])


def write_config(name: str, folder: Path) -> Path:
    """Write a packaged config, whole, into a folder.

    Args:
        name (str): As for :func:`resolved_config`.
        folder (Path): Made if it does not exist.

    Returns:
        Path: The file.

    Raises:
        ValueError: If there is no such config.
        FileExistsError: If the file exists.
    """
    config = resolved_config(name)
    target = folder / f"{Path(config.filename).stem}.py"
    if target.exists():
        raise FileExistsError(f"{target} exists; remove it or choose another --dest")
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(config.pretty_text, encoding="utf-8")
    return target


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv (list[str], optional): Arguments. Default: those of the process.

    Returns:
        int: Exit status, 0 or 1.
    """
    parser = argparse.ArgumentParser(prog="python -m mmseg_papers")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="show the versions and devices in use")
    config = commands.add_parser("config", help="print or write a packaged config")
    config.add_argument("name", nargs="?", help="a config's name; none lists them")
    config.add_argument("--dest", type=Path, metavar="DIR", help="write it there")
    args = parser.parse_args(argv)
    if args.command == "check":
        for part, state in environment().items():
            print(f"{part:<16}{state}")
    elif args.name is None:
        print("\n".join(packaged_configs()))
    else:
        try:
            if args.dest is None:
                print(resolved_config(args.name).pretty_text)
            else:
                print(f"wrote {write_config(args.name, args.dest)}")
        except (OSError, ValueError) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
