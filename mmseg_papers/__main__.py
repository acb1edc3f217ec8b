"""Command line: ``python -m mmseg_papers check``, ``config`` and ``predict``."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from rich.progress import track

from . import LINE, __version__
from .apis import Predictor, find_files, predict_files
from .datasets import FolderDataset
from .models.option_errors import naming_options, near_names
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
        name (str): Its name, with or without ``.py`` and folder; a file that exists comes first.

    Returns:
        Config: The config.

    Raises:
        ValueError: If there is no such config, with the nearest ones, or it cannot be read.
    """
    if Path(name).is_file():
        try:
            return Config.fromfile(name)
        except Exception as error:  # a config is a program and may raise anything
            reason = str(error).split("\n")[0]
            raise ValueError(
                f"config {name} cannot be read: {type(error).__name__}: {reason}"
            ) from error
    configs = packaged_configs()
    stem = Path(name).name.removesuffix(".py")
    if stem not in configs:
        raise ValueError(
            f"no config {name!r}, as a file or in mmseg-papers {__version__} (`python -m "
            f"mmseg_papers config` lists these){near_names(stem, configs, cutoff=0.3)}"
        )
    return Config.fromfile(configs[stem])


def on_own_data(
    config: Config, data_root: str, classes: Sequence[str], data_options: dict | None = None
) -> Config:
    """Turn a config to data of one's own, in the layout of ``configs/_base_/datasets/own.py``.

    Data sets, pipelines and evaluators become those of that file; crop size, batch size, model and
    schedule stay. Class weights of the old classes are dropped.

    Args:
        config (Config): Any config of MMSegmentation; changed in place.
        data_root (str): Folder with ``images`` and ``annotations``.
        classes (Sequence[str]): Names of the classes, in the order of their indices.
        data_options (dict, optional): More options of the data sets, such as ``label_colors``; see
            :class:`mmseg_papers.datasets.FolderDataset`.

    Returns:
        Config: The config.

    Raises:
        ValueError: If the config trains nothing, or the data set refuses an option.
    """
    parts = ("model", "train_dataloader", "val_dataloader", "test_dataloader")
    if missing := [part for part in parts if part not in config]:
        raise ValueError(f"config {config.filename} has no {', '.join(missing)}")
    own = Config.fromfile(CONFIGS / "_base_" / "datasets" / "own.py")

    def adapt(part: Any) -> None:
        members = part.values() if isinstance(part, dict) else part
        for member in members if isinstance(part, (dict, list, tuple)) else ():
            adapt(member)
        if not isinstance(part, dict):
            return
        for option, value in (
            ("data_root", data_root),
            ("classes", tuple(classes)),
            ("num_classes", len(classes)),
            ("crop_size", config.get("crop_size", own.crop_size)),
        ):
            if option in part:
                part[option] = value

    adapt(own._cfg_dict)
    for key, value in own.items():
        if key.endswith("_dataloader"):
            batch_size = config[key].get("batch_size", value.batch_size)
            dataset = dict(value.dataset, **(data_options or {}))
            with naming_options(dataset, "--data-options"):
                FolderDataset(**{k: v for k, v in dataset.items() if k != "type"}, lazy_init=True)
            value = dict(value, batch_size=batch_size, dataset=dataset)
        config[key] = value
    for name in ("tta_pipeline", "dataset_type", "class_weight"):  # of the old data
        config.pop(name, None)
    for name in ("decode_head", "auxiliary_head"):
        heads = config.model.get(name) or []
        for head in heads if isinstance(heads, list) else [heads]:
            head.num_classes = len(classes)
            losses = head.get("loss_decode") or []
            for loss in losses if isinstance(losses, list) else [losses]:
                loss.pop("class_weight", None)
    return config


def write_config(config: Config, folder: Path) -> Path:
    """Write a config, whole, into a folder.

    Args:
        config (Config): Read from a file.
        folder (Path): Made if it does not exist.

    Returns:
        Path: The file, named as the one it was read from.

    Raises:
        FileExistsError: If the file exists.
    """
    target = folder / f"{Path(config.filename).stem}.py"
    if target.exists():
        raise FileExistsError(f"{target} exists; remove it or choose another --dest")
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(config.pretty_text, encoding="utf-8")
    return target


def output_folder(path: str) -> Path:
    """A folder to write into, which may not exist yet, for ``argparse``.

    Raises:
        argparse.ArgumentTypeError: If it cannot be made or written to.
    """
    there = next(p for p in (Path(path), *Path(path).absolute().parents) if p.exists())
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"{there} is a file; name a folder")
    if not os.access(there, os.W_OK):
        raise argparse.ArgumentTypeError(f"{there} cannot be written to; name another folder")
    return Path(path)


def predict_command(args: argparse.Namespace) -> int:
    """Run ``predict``; the exit status is 1 if a file, config or checkpoint cannot be used."""
    try:
        files = find_files(args.sources)
        predictor = Predictor(resolved_config(args.config), args.checkpoint, args.device)
        tables = predict_files(
            predictor,
            track(files, "predicting"),
            args.out,
            batch_size=args.batch_size,
            opacity=args.opacity,
        )
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    for file, table in tables.items():
        shares = ", ".join(f"{row['class']} {row['share']:.0%}" for row in table[:5])
        print(f"{file}: {shares}")
    print(f"wrote {args.out}/overlay, labels, confidence and classes.json")
    return 0


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
    config.add_argument("--dest", type=output_folder, metavar="DIR", help="write it there")
    config.add_argument("--data-root", metavar="DIR", help="turn it to your data in this folder")
    config.add_argument("--classes", nargs="+", metavar="CLASS", help="names of your classes")
    config.add_argument(
        "--data-options",
        nargs="+",
        action=DictAction,
        metavar="KEY=VALUE",
        help="options of FolderDataset, such as label_colors='[(0,0,0),(255,0,0)]'",
    )
    predict = commands.add_parser("predict", help="draw what a model sees in images and videos")
    predict.add_argument("config", help="a config file, or a packaged config's name")
    predict.add_argument("checkpoint")
    predict.add_argument("sources", nargs="+", metavar="FILE", help="file, folder, pattern, video")
    predict.add_argument("--out", type=output_folder, default="work_dirs/predict", metavar="DIR")
    predict.add_argument("--batch-size", type=int, default=1, metavar="N")
    predict.add_argument("--opacity", type=float, default=0.5, help="of the colours (0.5)")
    predict.add_argument("--device", help="such as cpu or cuda:1 (the GPU if there is one)")
    args = parser.parse_args(argv)
    if args.command == "config" and (args.data_root is None) != (args.classes is None):
        parser.error("--data-root and --classes go together")
    if args.command == "config" and args.data_options and args.data_root is None:
        parser.error("--data-options needs --data-root and --classes")
    if args.command == "predict":
        return predict_command(args)
    if args.command == "check":
        for part, state in environment().items():
            print(f"{part:<16}{state}")
    elif args.name is None:
        print("\n".join(packaged_configs()))
    else:
        try:
            found = resolved_config(args.name)
            if args.classes is not None:
                found = on_own_data(found, args.data_root, args.classes, args.data_options)
            if args.dest is None:
                print(found.pretty_text)
            else:
                print(f"wrote {write_config(found, args.dest)}")
        except (OSError, ValueError) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
