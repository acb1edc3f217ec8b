"""Command line: ``mmseg-papers VERB``, also ``python -m mmseg_papers VERB``."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch
from mmengine.config import Config, DictAction

from . import LINE, __version__
from .apis import (
    Entry,
    Predictor,
    download,
    entries,
    entry,
    find_files,
    on_own_data,
    predict_files,
    with_crop_size,
)
from .apis.configs import MIM, packaged_configs, resolved_config
from .arguments import key_value, output_folder, positive
from .stack import LINES, installed_version

#: Tools that are verbs, too.
TOOLS = {
    "benchmark": "compare this package's speed and memory with stock PyTorch's",
    "export": "write a model as a file for ONNX or torch.export",
}


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


def check_command(args: argparse.Namespace) -> int:
    """Run ``check``."""
    for part, state in environment().items():
        print(f"{part:<16}{state}")
    return 0


def config_command(args: argparse.Namespace) -> int:
    """Run ``config``; the exit status is 1 if a config cannot be read, changed or written."""
    if args.name is None:
        print("\n".join(packaged_configs()))
        return 0
    try:
        found = resolved_config(args.name)
        if args.crop_size is not None:
            found = with_crop_size(found, args.crop_size)
        if args.classes is not None:
            found = on_own_data(found, args.data_root, args.classes, args.data_options)
        if args.dest is None:
            print(found.pretty_text)
        else:
            print(f"wrote {write_config(found, args.dest)}")
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def predict_command(args: argparse.Namespace) -> int:
    """Run ``predict``; the exit status is 1 if a file, config or checkpoint cannot be used."""
    try:
        files = find_files(args.sources, args.out)
        predictor = Predictor(resolved_config(args.config), args.checkpoint, args.device)
        tables = predict_files(
            predictor,
            files,
            args.out,
            batch_size=args.batch_size,
            opacity=args.opacity,
            bands=args.bands,
            show_progress=True,
        )
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    for file, table in tables.items():
        shares = ", ".join(f"{row['class']} {row['share']:.0%}" for row in table[:5])
        print(f"{file}: {shares}")
    print(f"wrote {args.out / 'classes.json'} and the pictures beside it")
    return 0


def list_command(args: argparse.Namespace) -> int:
    """Run ``list``; the exit status is 1 if nothing fits."""
    found = entries(args.pattern)
    if not found:
        print(f"no config and no paper fits {args.pattern!r}", file=sys.stderr)
        return 1
    width = max(len(e.name) for e in found)
    print(f"{'':<{width}}  parameters  multiply-adds")
    for paper in dict.fromkeys(e.paper for e in found):
        print(f"{paper.name}: {paper.title}")
        for e in found:
            if e.paper == paper:
                height, wide = e.input_size
                print(
                    f"{e.name:<{width}}  {e.parameters:8.2f} M  {e.multiply_adds:7.2f} G at "
                    f"{height}x{wide}{', has weights' * (e.weights is not None)}"
                )
    return 0


def info_command(args: argparse.Namespace) -> int:
    """Run ``info``; the exit status is 1 if there is no such config."""
    try:
        rows = described(entry(args.name))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for part, text in rows:
        print(f"{part:<16}{text}")
    return 0


def described(found: Entry) -> list[tuple[str, str]]:
    """What ``info`` prints of a config.

    Args:
        found (Entry): The config.

    Returns:
        list[tuple[str, str]]: Part and its text, in the order of lines.
    """
    height, width = found.input_size
    preprocessing = found.preprocessing
    rows = [
        ("config", str(found.config)),
        ("paper", f"{found.paper.title}, {found.paper.url}"),
        ("authors' code", f"{found.paper.code_url} at {found.paper.code_version}"),
        ("its licence", found.paper.license),
        ("architecture", ", ".join(found.architecture)),
        ("parameters", f"{found.parameters} M"),
        ("multiply-adds", f"{found.multiply_adds} G at {height}x{width}, plain formulas"),
        ("training data", found.training_data),
        ("classes", f"{len(found.classes)}: {', '.join(found.classes)}"),
        ("channels", preprocessing["channels"]),
        ("mean, std", f"{preprocessing['mean']}, {preprocessing['std']}"),
        ("test pipeline", ", ".join(step["type"] for step in preprocessing["pipeline"])),
    ]
    for result in found.results:
        metrics = ", ".join(f"{metric} {value}" for metric, value in result["Metrics"].items())
        rows.append(("result", f"{result['Dataset']}: {metrics} ({result['Source']})"))
    for count in found.published:
        source = "; ".join(count[key] for key in ("Source", "Difference") if key in count)
        rows.append(("published", f"{count['Quantity']} {count['Value']} ({source})"))
    rows.append(("weights", found.weights or "none are hosted"))
    if found.weights is not None:
        rows.append(("their licence", found.license))
    return rows


def download_command(args: argparse.Namespace) -> int:
    """Run ``download``; the exit status is 1 if there are no weights or they do not arrive."""
    try:
        file = download(args.name, args.dest)
        print(f"wrote {file}; licence of these weights: {entry(args.name).license}")
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def packaged_tools() -> dict[str, Path]:
    """The scripts that come with the package, as ``mim run mmseg_papers`` knows them.

    Returns:
        dict[str, Path]: Name without ``.py`` -> file.
    """
    files = sorted((MIM / "tools").rglob("*.py"))
    return {file.stem: file for file in files if "__main__" in file.read_text(encoding="utf-8")}


def run_command(args: argparse.Namespace) -> int:
    """Run ``run``; the exit status is that of the tool, or 1 if there is no such tool."""
    tools = packaged_tools()
    if args.name in tools:
        return subprocess.call([sys.executable, tools[args.name], *args.arguments])
    if args.name is not None:
        print(f"no tool {args.name!r}; there are:", file=sys.stderr)
    print("\n".join(tools), file=sys.stdout if args.name is None else sys.stderr)
    return int(args.name is not None)


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv (list[str], optional): Arguments. Default: those of the process.

    Returns:
        int: Exit status, 0 or 1; of a tool, its own.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in TOOLS:
        argv = ["run", *argv]
    parser = argparse.ArgumentParser(prog="mmseg-papers")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="show the versions and devices in use")
    check.set_defaults(run=check_command)
    listing = commands.add_parser("list", help="list papers and configs with their sizes")
    listing.add_argument(
        "pattern", nargs="?", default="*", help="such as 'ocrnet*ade20k*' or hanet"
    )
    listing.set_defaults(run=list_command)
    info = commands.add_parser("info", help="show what is known about a packaged config")
    info.add_argument("name", help="a config's name")
    info.set_defaults(run=info_command)
    fetching = commands.add_parser("download", help="download a packaged config's weights")
    fetching.add_argument("name", help="a config's name")
    fetching.add_argument("--dest", type=Path, default=Path(), metavar="DIR", help="(here)")
    fetching.set_defaults(run=download_command)
    config = commands.add_parser("config", help="print or write a config, packaged or yours")
    config.add_argument(
        "name", nargs="?", help="a packaged config's name, or a file; none lists the names"
    )
    config.add_argument("--dest", type=output_folder, metavar="DIR", help="write it there")
    config.add_argument(
        "--crop-size",
        nargs=2,
        type=positive,
        metavar=("HEIGHT", "WIDTH"),
        help="change the crop, and all other sizes in proportion",
    )
    config.add_argument("--data-root", metavar="DIR", help="turn it to your data in this folder")
    config.add_argument("--classes", nargs="+", metavar="CLASS", help="names of your classes")
    config.add_argument(
        "--data-options",
        nargs="+",
        type=key_value,
        action=DictAction,
        metavar="KEY=VALUE",
        help="options of FolderDataset, such as label_colors='[(0,0,0),(255,0,0)]'",
    )
    config.set_defaults(run=config_command)
    predict = commands.add_parser("predict", help="draw what a model sees in images and videos")
    predict.add_argument("config", help="a config file, or a packaged config's name")
    predict.add_argument("checkpoint")
    predict.add_argument("sources", nargs="+", metavar="FILE", help="file, folder, pattern, video")
    predict.add_argument("--out", type=output_folder, default="work_dirs/predict", metavar="DIR")
    predict.add_argument("--batch-size", type=positive, default=1, metavar="N")
    predict.add_argument("--opacity", type=float, default=0.5, help="of the colours (0.5)")
    predict.add_argument(
        "--bands",
        type=int,
        nargs=3,
        default=(2, 1, 0),
        metavar=("R", "G", "B"),
        help="channels drawn in colour (2 1 0)",
    )
    predict.add_argument("--device", help="such as cpu or cuda:1 (the GPU if there is one)")
    predict.set_defaults(run=predict_command)
    running = commands.add_parser("run", help="run a packaged tool")
    running.add_argument("name", nargs="?", help="a tool's name; none lists them")
    running.add_argument("arguments", nargs=argparse.REMAINDER, help="of the tool")
    running.set_defaults(run=run_command)
    for verb, purpose in TOOLS.items():
        commands.add_parser(verb, help=purpose)
    args = parser.parse_args(argv)
    if args.command == "config" and (args.data_root is None) != (args.classes is None):
        parser.error("--data-root and --classes go together")
    if args.command == "config" and args.data_options and args.data_root is None:
        parser.error("--data-options needs --data-root and --classes")
    try:
        status = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # what reads it, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


if __name__ == "__main__":
    sys.exit(main())
