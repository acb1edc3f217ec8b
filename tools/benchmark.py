"""Time and memory of this package against stock PyTorch and mmseg, side by side in one run.

    python tools/benchmark.py ops [NAME ..]
    python tools/benchmark.py model CONFIG [--size H W] [--only train | evaluate]
    python tools/benchmark.py memory CONFIG [CONFIG ..] [--size H W]

The baseline runs in both memory layouts; a ratio is against the faster of the two. Results are
checked against the baseline's in the same run. Of a model, the baseline is of mmseg's components
where it has them; what it lacks are ours in plain formulas, and the table's title names them.
Writes a JSON file and a plot to --out. More options: --threads, --repeats; model also takes
--compiled. memory runs two training steps of each variant and times none, so that the papers' crops
are soon measured; it compares no results and draws no plot.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from benchmark_tasks import Make, all_tasks, device, random_map
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from rich.console import Console
from rich.table import Table
from torch import Tensor

import mmseg_papers
from mmseg_papers import ops
from mmseg_papers.apis.configs import require_parts, resolved_config
from mmseg_papers.apis.zoo import without_pretrained
from mmseg_papers.arguments import positive
from mmseg_papers.models.backbones.hrnet import arch_to_extra
from mmseg_papers.models.layers.height_attention import row_positions
from mmseg_papers.models.segmentors import AtrousEncoderDecoder

LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
#: What calls on a GPU last together when one is timed.
FILLED_SECONDS = 0.02
#: mmseg's segmentors -> ours with the same parameters and results.
FUSED_SEGMENTORS = {
    "EncoderDecoder": "FusedEncoderDecoder",
    "CascadeEncoderDecoder": "FusedCascadeEncoderDecoder",
}
#: Our segmentors -> mmseg's with the same parameters and results.
STOCK_SEGMENTORS = {
    **{ours: theirs for theirs, ours in FUSED_SEGMENTORS.items()},
    "AtrousEncoderDecoder": "EncoderDecoder",
}
#: Options of ours that mmseg's HRNet lacks.
HRNET_OPTIONS = {
    *("upsample_mode", "upsample_cfg", "fusion_scope", "fusion_order", "new_stream_from"),
}
#: Our heads -> mmseg's with the same parameters and results.
STOCK_HEADS = {
    "HRNetV2Head": dict(type="FCNHead", kernel_size=1, num_convs=1, concat_input=False),
    "ObjectContextHead": dict(type="OCRHead"),
}


@dataclass
class Task:
    """One thing to run: ``make(variant, layout)`` prepares it and returns what to time.

    What is timed returns tensors that are compared between the variants ``stock`` and ``ours``,
    each within its tolerance or what ``stock`` differs by in its other layout; the last tolerance
    holds for all further tensors.
    """

    name: str
    make: Make
    tolerances: tuple[float, ...]


@dataclass
class Result:
    """Measurements of a task in one variant and layout; errors are ours against stock there.

    ``agrees`` says whether they are within the task's tolerances.
    """

    task: str
    variant: str
    layout: str
    seconds: float
    extra_mib: float
    errors: list[float]
    agrees: bool


# Operations

OPS = all_tasks()


def op_tasks(names: list[str]) -> list[Task]:
    """The tasks of the named operations."""
    return [
        Task(f"{name}: {case}", make, tolerances=(1e-4,))
        for name in names
        for case, make in OPS[name].items()
    ]


# Models


def stock_model(model: ConfigDict) -> ConfigDict:
    """The model of a config in mmseg's own components; what mmseg lacks stays ours."""
    model = deepcopy(model)
    backbone, heads = model["backbone"], model["decode_head"]
    heads = heads if isinstance(heads, list) else [heads]
    if model["type"] in STOCK_SEGMENTORS and not model.get("norm_eval"):
        model["type"] = STOCK_SEGMENTORS[model["type"]]
        model.pop("norm_eval", None)
    if backbone["type"] == "HighResolutionNet" and not HRNET_OPTIONS & backbone.keys():
        backbone.pop("align_corners", None)
        arch = backbone.pop("arch", None)
        backbone.update(type="HRNet", extra=backbone.get("extra") or arch_to_extra(arch))
    if backbone["type"] == "PluginResNetV1c" and not backbone.get("plugins"):
        backbone["type"] = "ResNetV1c"
    for head in heads:
        if head["type"] not in STOCK_HEADS:
            continue
        of_mmseg = STOCK_HEADS[head["type"]]
        if isinstance(head["in_channels"], (list, tuple)):
            of_mmseg = dict(
                of_mmseg,
                in_index=tuple(range(len(head["in_channels"]))),
                channels=head.get("channels", sum(head["in_channels"])),
                input_transform="resize_concat",
            )
        head.update({**of_mmseg, **head, "type": of_mmseg["type"]})
    return model


def build_variant(model: ConfigDict, variant: str) -> torch.nn.Module:
    """The model of a config as ``stock`` or ``ours``, without pretrained weights."""
    init_default_scope("mmseg")
    model = without_pretrained(model)
    if model["backbone"]["type"] == "HighResolutionNet":
        model["backbone"]["align_corners"] = False  # mmseg's knows nothing else
    if variant == "stock":
        model = stock_model(model)
    else:
        model["type"] = FUSED_SEGMENTORS.get(model["type"], model["type"])
    output_stride = model.pop("output_stride", None)
    built = MODELS.build(model)
    if output_stride is not None:  # mmseg's segmentor lacks the method, not its parts
        AtrousEncoderDecoder.set_output_stride(built, output_stride)
    return built


def describe_stock(model: ConfigDict) -> str:
    """What ``stock`` is for the model of a config: mmseg's, and which parts of ours."""
    with torch.device("meta"):
        built = build_variant(model, "stock")
    registered = {*MODELS.module_dict.values(), *MODELS.parent.module_dict.values()}
    ours = {
        kind.__name__
        for kind in map(type, built.modules())
        if kind in registered and kind.__module__.startswith("mmseg_papers.")
    }
    return "mmseg" + bool(ours) * f" with the plain forms of {', '.join(sorted(ours))}"


def build_model(config: Config, variant: str, layout: torch.memory_format) -> torch.nn.Module:
    """A config's model with random weights, the same for both variants."""
    torch.manual_seed(0)
    built = revert_sync_batchnorm(build_variant(config.model, variant))
    generator = torch.Generator().manual_seed(0)
    for parameter in built.parameters():  # in the order of their names, so equal in both
        if parameter.dim() > 1:
            fan_in = parameter[0].numel()
            parameter.data = torch.randn(parameter.shape, generator=generator) * fan_in**-0.5
    for module in built.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0  # the variants would draw different masks
    return built.to(device()).to(memory_format=layout)


def image_size(config: Config, size: list[int] | None) -> tuple[int, int]:
    """The given size, or by default a config's crop, on which both variants compute the same.

    Raises:
        ValueError: If the config has no model or no crop, or mmseg's HRNet differs at this size.
    """
    require_parts(config, "model")
    stock_backbone = stock_model(config.model).backbone.type
    divisor = 32 if stock_backbone == "HRNet" != config.model.backbone.type else 1
    if size is None and "crop_size" not in config:
        raise ValueError(f"{config.filename} has no crop_size; give --size")
    if size is None:
        return tuple(-(-n // divisor) * divisor for n in config.crop_size)
    if any(n % divisor for n in size):
        raise ValueError("mmseg's HRNet resizes differently unless --size are multiples of 32")
    return tuple(size)


def samples(config: Config, size: tuple[int, int], batch: int) -> list[SegDataSample]:
    """Random labels in blocks of 32 pixels."""
    heads = config.model.decode_head
    classes = (heads if isinstance(heads, dict) else heads[-1]).num_classes
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(
        0, classes, (batch, 1, -(-size[0] // 32), -(-size[1] // 32)), generator=generator
    )
    label = F.interpolate(coarse.float(), scale_factor=32).long()[..., : size[0], : size[1]]
    rows = row_positions(size[0]).numpy().astype("uint8")  # which HANet reads
    meta = dict(img_shape=size, ori_shape=size, pad_shape=size, row_position=rows)
    return [SegDataSample(gt_sem_seg=PixelData(data=y.to(device())), metainfo=meta) for y in label]


def train_step(
    variant: str,
    layout: torch.memory_format,
    file: str,
    size: tuple,
    batch: int,
    compiled: bool,
) -> Callable[[], list[Tensor | tuple[Tensor, ...]]]:
    """Loss and gradient of one training step."""
    config = resolved_config(file)
    model = build_model(config, variant, layout).train()
    images = random_map((batch, 3, *size), layout)
    labels = samples(config, size, batch)
    forward = compile_model(model) if compiled else model

    def run() -> list[Tensor | tuple[Tensor, ...]]:
        torch.manual_seed(0)  # HANet shifts positions at random
        with plain_or_ours(variant), half_precision(compiled):
            loss, _ = model.parse_losses(forward(images, labels, mode="loss"))
        loss.backward()
        gradient = tuple(p.grad for p in model.parameters() if p.grad is not None)
        model.zero_grad(set_to_none=True)  # what a run leaves does not count as the next one's
        # In bfloat16, rounding grows through a deep random network until gradients compare nothing.
        return [loss.detach()] if compiled else [loss.detach(), gradient]

    return run


def evaluate(
    variant: str, layout: torch.memory_format, file: str, size: tuple, compiled: bool
) -> Callable[[], list[Tensor]]:
    """Label map of one image."""
    config = resolved_config(file)
    model = build_model(config, variant, layout).eval()
    image, label = random_map((1, 3, *size), layout), samples(config, size, 1)
    forward = compile_model(model) if compiled else model

    @torch.no_grad()
    def run() -> list[Tensor]:
        with plain_or_ours(variant), half_precision(compiled):
            return [forward(image, label, mode="predict")[0].pred_sem_seg.data.long()]

    return run


def compile_model(model: torch.nn.Module) -> Callable:
    """The model in ``torch.compile``, which may not fall back to running it eagerly."""
    if hasattr(torch._dynamo.config, "fail_on_recompile_limit_hit"):  # not in PyTorch 2.4
        torch._dynamo.config.fail_on_recompile_limit_hit = True
    return torch.compile(model)


def plain_or_ours(variant: str) -> AbstractContextManager:
    """Plain formulas in the baseline, also of models that mmseg does not have."""
    return ops.use_references() if variant == "stock" else nullcontext()


def half_precision(is_on: bool) -> AbstractContextManager:
    """bfloat16 where autocast takes it."""
    return torch.autocast(device().type, torch.bfloat16) if is_on else nullcontext()


def model_tasks(
    file: str, size: tuple[int, int], batch: int, only: str | None, compiled: bool = False
) -> list[Task]:
    """A training step and an evaluation of a config, or ``only`` one of them."""
    stem, options = Path(file).stem, dict(file=file, size=size, compiled=compiled)
    tasks = {
        "train": Task(
            f"train: {stem}",
            partial(train_step, batch=batch, **options),
            tolerances=(5e-2,) if compiled else (1e-5, 1e-2),
        ),
        # Rounding moves a label only where two classes tie.
        "evaluate": Task(
            f"evaluate: {stem}",
            partial(evaluate, **options),
            tolerances=(5e-2,) if compiled else (1e-3,),
        ),
    }
    return list(tasks.values()) if only is None else [tasks[only]]


# Measuring


def measure_time(runs: dict[tuple[str, str], Callable], repeats: int, threads: int) -> dict:
    """Median seconds of each run, interleaved so that a change of the machine's load hits all.

    Of one thread on the CPU they are its own seconds, without those of others on its core. A GPU
    runs calls back to back, as in a network, where one alone would measure its launch.
    """
    alone = threads == 1 and not torch.cuda.is_available()
    clock = time.process_time if alone else time.perf_counter
    seconds = {key: [] for key in runs}
    calls = dict.fromkeys(runs, 1)
    warm_up = 2 if torch.cuda.is_available() else 1
    for turn in range(warm_up + repeats):
        for key, run in runs.items():
            gc.collect()
            start = clock()
            for _ in range(calls[key]):
                run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            taken = clock() - start
            if turn >= warm_up:
                seconds[key].append(taken / calls[key])
            elif turn:
                calls[key] = max(round(FILLED_SECONDS / taken), 1)
    return {key: statistics.median(values) for key, values in seconds.items()}


def status_kib(field: str) -> int:
    """A memory field of this process, as Linux reports it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def measure_memory(task: Task, variant: str, layout: str, threads: int) -> float:
    """Peak MiB above what is held before the run."""
    torch.set_num_threads(threads)
    run = task.make(variant, LAYOUTS[layout])
    if torch.cuda.is_available():
        run()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    run()  # loads what stays loaded
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = status_kib("VmRSS")
    run()
    return (status_kib("VmHWM") - before) / 2**10


def peaks(task: Task, keys: list[tuple[str, str]], threads: int) -> dict[tuple[str, str], float]:
    """:func:`measure_memory` of each variant and layout, on the CPU in a process of its own."""
    # Freed memory goes back to the system at once, so that the peak above it is the run's own.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    extra = {}
    if torch.cuda.is_available():  # its allocator counts
        return {key: measure_memory(task, *key, threads) for key in keys}
    for key in keys:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            try:
                extra[key] = pool.submit(measure_memory, task, *key, threads).result()
            except BrokenProcessPool as error:
                raise RuntimeError(
                    f"{task.name}, {' '.join(key)}: the process was killed, as when memory runs "
                    "out; give a smaller --size or --batch"
                ) from error
    return extra


def memory_of_training(file: str, size: tuple[int, int], batch: int, threads: int) -> dict:
    """Peak MiB of a config's training step in both variants, and how much of it are gradients."""
    (task,) = model_tasks(file, size, batch, "train")
    extra = peaks(task, [("stock", "NCHW"), ("ours", "NCHW")], threads)
    model = resolved_config(file).model
    with torch.device("meta"):
        weights = [p for p in build_variant(model, "ours").parameters() if p.requires_grad]
    return dict(
        config=Path(file).stem,
        stock=describe_stock(model),
        size=size,
        batch=batch,
        gradient_mib=sum(p.numel() * p.element_size() for p in weights) / 2**20,
        stock_mib=extra["stock", "NCHW"],
        ours_mib=extra["ours", "NCHW"],
    )


def measure(task: Task, repeats: int, threads: int) -> list[Result]:
    """Run a task in both variants and layouts."""
    if "torch._dynamo" in sys.modules:  # or these models count as recompilations of the last ones
        torch._dynamo.reset()
    keys = [(variant, layout) for variant in ("stock", "ours") for layout in LAYOUTS]
    runs = {(v, name): task.make(v, LAYOUTS[name]) for v, name in keys}
    last = len(task.tolerances) - 1

    def difference(a: list[Tensor | tuple], b: list[Tensor | tuple]) -> list[float]:
        values = list(map(relative_error, a, b))
        return [*values[:last], max(values[last:])]

    with no_tf32():
        results = {key: run() for key, run in runs.items()}
    # Rounding grows through a deep random network, above all backwards, until stock's own layouts
    # differ by more than the tolerance.
    rounding = difference(*(results["stock", layout] for layout in LAYOUTS))
    errors, agrees = {}, {}
    for layout in LAYOUTS:
        errors[layout] = difference(results["ours", layout], results["stock", layout])
        agrees[layout] = all(
            error <= max(tolerance, least)
            for error, tolerance, least in zip(
                errors[layout], task.tolerances, rounding, strict=True
            )
        )
    del results
    seconds = measure_time(runs, repeats, threads)
    del runs
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    extra = peaks(task, keys, threads)
    return [
        Result(task.name, *key, seconds[key], extra[key], errors[key[1]], agrees[key[1]])
        for key in keys
    ]


@contextmanager
def no_tf32() -> Iterator[None]:
    """Full float32 on a GPU, where TF32's 10 bits would hide or look like a difference."""
    switches = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = False
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value


def relative_error(a: Tensor | tuple[Tensor, ...], b: Tensor | tuple[Tensor, ...]) -> float:
    """Norm of the difference over the norm of ``b``; of label maps the share that differs.

    A tuple of tensors counts as one vector.
    """
    if isinstance(a, tuple):
        a, b = (torch.cat([x.flatten() for x in tensors]) for tensors in (a, b))
    if not b.is_floating_point():
        return (a != b).double().mean().item()
    return ((a - b).double().norm() / b.double().norm().clamp(min=1e-12)).item()


# Reporting


def ratios(results: list[Result]) -> dict[str, dict[str, tuple[float, float]]]:
    """Task -> layout -> time and memory of ours over stock in its faster layout."""
    table: dict[str, dict[str, tuple[float, float]]] = {}
    for task in dict.fromkeys(r.task for r in results):
        mine = [r for r in results if r.task == task]
        best = min((r for r in mine if r.variant == "stock"), key=lambda r: r.seconds)
        table[task] = {
            r.layout: (r.seconds / best.seconds, r.extra_mib / max(best.extra_mib, 1e-9))
            for r in mine
            if r.variant == "ours"
        }
    return table


def show(results: list[Result], stock: str) -> None:
    """Print the results as a table, under what ``stock`` is."""
    table = Table(title=f"ours against {stock}, in its faster layout")
    for column in ("task", "variant", "layout", "time", "ratio", "extra memory", "ratio", "error"):
        table.add_column(column, justify="left" if column in ("task", "variant") else "right")
    relative = ratios(results)
    for r in results:
        t, m = relative[r.task][r.layout] if r.variant == "ours" else (None, None)
        table.add_row(
            r.task if (r.variant, r.layout) == ("stock", "NCHW") else "",
            r.variant,
            r.layout,
            f"{r.seconds * 1e3:.1f} ms",
            "" if t is None else f"{t:.2f}",
            f"{r.extra_mib:.0f} MiB",
            "" if m is None else f"{m:.2f}",
            "" if t is None else ", ".join(f"{error:.0e}" for error in r.errors),
        )
    Console(width=150).print(table)


def show_memory(rows: list[dict]) -> None:
    """Print a row for each config, with what its baseline is."""
    table = Table(title="peak memory of a training step above what is held before it")
    for column in ("config, against", "size", "batch", "gradients", "stock", "ours", "ratio"):
        table.add_column(column, justify="left" if column == "config, against" else "right")
    for row in rows:
        mib = (f"{row[key]:.0f} MiB" for key in ("gradient_mib", "stock_mib", "ours_mib"))
        ratio = f"{row['ours_mib'] / row['stock_mib']:.2f}"
        size = "{}x{}".format(*row["size"])
        table.add_row(f"{row['config']},\n{row['stock']}", size, str(row["batch"]), *mib, ratio)
    Console(width=150).print(table)


def write_numbers(results: list[dict], folder: Path, name: str, **about: Any) -> None:
    """Write ``<name>.json``: the results, and what they were measured on."""
    folder.mkdir(parents=True, exist_ok=True)
    about = dict(
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor(),
        torch=torch.__version__,
        mmseg_papers=mmseg_papers.__version__,
        **about,
        results=results,
    )
    (folder / f"{name}.json").write_text(json.dumps(about, indent=1))
    print(f"wrote {folder / name}.json")


def write(results: list[Result], stock: str, folder: Path, name: str, threads: int) -> None:
    """Write ``<name>.json`` and ``<name>.png``."""
    write_numbers([asdict(r) for r in results], folder, name, threads=threads, stock=stock)
    relative = ratios(results)
    figure, axes = plt.subplots(
        1, 2, sharey=True, figsize=(12, 1.4 + 0.5 * len(relative)), layout="constrained"
    )
    for column, (axis, title) in enumerate(zip(axes, ("time", "extra memory"), strict=True)):
        for offset, layout in enumerate(LAYOUTS):
            values = [by_layout[layout][column] for by_layout in relative.values()]
            places = [row + 0.35 * offset for row in range(len(values))]
            bars = axis.barh(places, values, 0.33, label=f"ours, {layout}")
            axis.bar_label(bars, fmt="%.2f", padding=2)
        axis.axvline(1, color="black", lw=1)
        axis.margins(x=0.12)  # for the numbers
        axis.set(title=f"{title} over stock (faster layout)", xlim=(0, None))
    axes[0].set_yticks([row + 0.17 for row in range(len(relative))], list(relative))
    axes[0].invert_yaxis()
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(LAYOUTS))
    figure.savefig(folder / f"{name}.png", dpi=100)
    plt.close(figure)
    print(f"wrote {folder / name}.png")


def main() -> None:
    """Run the command line."""
    measuring = argparse.ArgumentParser(add_help=False)
    measuring.add_argument("--threads", type=positive, default=1, help="CPU threads (default: 1)")
    measuring.add_argument("--out", type=Path, default=Path("work_dirs/benchmark"), metavar="DIR")
    timing = argparse.ArgumentParser(add_help=False)
    timing.add_argument("--repeats", type=positive, default=5, help="timed turns (default: 5)")
    images = argparse.ArgumentParser(add_help=False)
    images.add_argument(
        "--size",
        type=positive,
        nargs=2,
        metavar=("H", "W"),
        help="default: the config's crop, of HRNet in multiples of 32",
    )
    images.add_argument(
        "--batch", type=positive, default=2, help="of the training step (default: 2)"
    )
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    of_ops = commands.add_parser(
        "ops", parents=[measuring, timing], help="operations against stock PyTorch"
    )
    of_ops.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(OPS)}")
    of_model = commands.add_parser(
        "model",
        parents=[measuring, timing, images],
        help="a config against mmseg's components, where it has them",
    )
    of_model.add_argument(
        "--compiled", action="store_true", help="both in torch.compile and bfloat16"
    )
    of_model.add_argument("--only", choices=("train", "evaluate"), help="default: both")
    of_memory = commands.add_parser(
        "memory", parents=[measuring, images], help="a training step's memory alone"
    )
    for command, count in ((of_model, 1), (of_memory, "+")):
        command.add_argument(
            "configs",
            nargs=count,
            metavar="CONFIG",
            help="a config file, or a packaged config's name",
        )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.command == "ops":
        unknown = set(args.names) - set(OPS)
        if unknown:
            parser.error(f"no operation {', '.join(unknown)}; there are {', '.join(OPS)}")
        tasks, name, stock = op_tasks(args.names or list(OPS)), "ops", "stock PyTorch"
    else:
        try:
            sizes = [image_size(resolved_config(file), args.size) for file in args.configs]
        except ValueError as error:
            parser.error(str(error))
    if args.command == "memory":
        rows = [
            memory_of_training(file, size, args.batch, args.threads)
            for file, size in zip(args.configs, sizes, strict=True)
        ]
        show_memory(rows)
        write_numbers(rows, args.out, "memory", threads=args.threads)
        return
    if args.command == "model":
        (file,) = args.configs
        tasks = model_tasks(file, *sizes, args.batch, args.only, args.compiled)
        name = Path(file).stem + "-compiled" * args.compiled
        stock = describe_stock(resolved_config(file).model)
    results = []
    for task in tasks:
        results += measure(task, args.repeats, args.threads)
    show(results, stock)
    write(results, stock, args.out, name, args.threads)
    if wrong := [f"{r.task} {r.layout}: {r.errors}" for r in results if not r.agrees]:
        parser.exit(1, "ours does not equal stock:\n" + "\n".join(dict.fromkeys(wrong)) + "\n")


if __name__ == "__main__":
    main()
