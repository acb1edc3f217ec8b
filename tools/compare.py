"""Train configs under one schedule and compare what they reach.

    python tools/compare.py CONFIG [CONFIG ..] --iterations 4000 [--seeds 0 1] [--out DIR]

Each config trains with its own optimizer, data and augmentation, but all for as many iterations
and, with --batch-size, on as many images; learning rates fall and the statistics of batch norm
settle in that time. The last weights are scored on the validation and the test set. The next
call goes on with a run that was cut off and leaves one that is done. Prints a table and draws the
curves.
"""

from __future__ import annotations

import argparse
import json
import statistics
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.runner import Runner

from mmseg_papers.apis.configs import require_parts, resolved_config
from mmseg_papers.apis.zoo import build_model, without_pretrained
from mmseg_papers.arguments import output_folder, positive
from mmseg_papers.datasets.label_maps import source_datasets
from mmseg_papers.models.option_errors import naming_options, typed_parts

#: Options of schedulers that count iterations.
ITERATIONS = {"begin", "end", "T_max", "total_iters", "milestones", "step_size"}
#: Validations of a run.
VALIDATIONS = 8
#: Momentum times iterations from which less than 1 % of batch norm's initial statistics is left.
SETTLING = 5


def under_schedule(config: Config, iterations: int, batch_size: int | None) -> Config:
    """Fit a config to a number of iterations.

    Args:
        config (Config): Changed in place.
        iterations (int): Of the training.
        batch_size (int, optional): Images in each. Default: the config's.

    Returns:
        Config: The config; it validates eight times and keeps its latest checkpoint only. A
        momentum of batch norm with which the statistics would not settle in that time is raised.

    Raises:
        ValueError: If the config trains by epochs, or an evaluator does not measure mIoU.
    """
    for name in ("val_evaluator", "test_evaluator"):
        for place, part in typed_parts(config[name], name):
            if "mIoU" not in part.get("iou_metrics", ["mIoU"]):
                raise ValueError(
                    f"{place}.iou_metrics of config {config.filename} must have 'mIoU', got "
                    f"{part['iou_metrics']}"
                )
    old = config.train_cfg.get("max_iters")
    if old is None:
        raise ValueError(f"config {config.filename} trains by epochs; give one with max_iters")
    schedulers = config.get("param_scheduler") or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        for option in ITERATIONS & scheduler.keys():
            scheduler[option] = _rescaled(scheduler[option], iterations / old)
    slowest = min(SETTLING / iterations, 0.1)
    for place, part in typed_parts(config.model):
        if place.endswith("norm_cfg") and part.get("momentum") is not None:
            part["momentum"] = max(part["momentum"], slowest)
    interval = max(iterations // VALIDATIONS, 1)
    config.train_cfg.update(max_iters=iterations, val_interval=interval)
    checkpoint = dict(type="SafeCheckpointHook", by_epoch=False, interval=interval)
    logger = dict(type="LoggerHook", interval=max(iterations // 100, 1), log_metric_by_epoch=False)
    for name, hook in (("checkpoint", dict(checkpoint, max_keep_ckpts=1)), ("logger", logger)):
        config.merge_from_dict({f"default_hooks.{name}": dict(hook, _delete_=True)})
    if batch_size is not None:
        config.train_dataloader.batch_size = batch_size
    return config


def _rescaled(iterations: int | list[int], factor: float) -> int | list[int]:
    """An iteration, or several, of a shorter training."""
    if isinstance(iterations, (list, tuple)):
        return [_rescaled(iteration, factor) for iteration in iterations]
    return max(round(iterations * factor), min(iterations, 1))


def from_scratch(model: ConfigDict) -> ConfigDict:
    """Fit a model's config to random weights.

    Args:
        model (ConfigDict): Not changed.

    Returns:
        ConfigDict: A copy without pretrained weights, in which no stage stays as it is and batch
        norm measures its statistics, as there are none to keep.
    """
    model = without_pretrained(model)
    for _, part in typed_parts(model):
        for option, free in (("frozen_stages", -1), ("norm_eval", False)):
            if option in part:
                part[option] = free
    return model


def require_buildable(config: Config) -> None:
    """Build a config's model and data sets, so that a fault stops no run after hours of others.

    Args:
        config (Config): Of a run.

    Raises:
        ValueError: If an option is wrong, images or label maps are missing, or the model needs a
            library that is not installed.
    """
    try:
        build_model(config)
        for split in ("train", "val", "test"):
            loader = f"{split}_dataloader"
            with naming_options(config[loader], loader):
                source_datasets(config[loader].dataset)
    except (ImportError, OSError, ValueError) as error:
        raise ValueError(f"config {config.filename}: {error}") from error


def claim(folder: Path, config: Config) -> None:
    """Keep a folder for the run of one config.

    Args:
        folder (Path): Of the run.
        config (Config): Written into it.

    Raises:
        ValueError: If the folder holds a run of another config, or with other options.
    """
    file, text = folder / "compared_config.py", config.pretty_text
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise ValueError(
            f"{folder} holds a run of another config or with other options, see {file}; remove it "
            "or choose another --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def train(config: Config, folder: Path) -> dict:
    """Train to the end, from where an earlier call was cut off, and score the last weights.

    Args:
        config (Config): Of the training.
        folder (Path): Where the runner writes.

    Returns:
        dict: ``curve``, pairs of iterations and mIoU on val; ``test``, the last weights' mIoU;
        ``seconds``, the median of an iteration; ``parameters`` of the model.
    """
    config.work_dir, config.resume = str(folder), True
    runner = Runner.from_cfg(config)
    runner.train()
    test = round(float(runner.test()["mIoU"]), 2)
    rows = []
    for file in sorted(folder.glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            with suppress(json.JSONDecodeError):  # of a run that was killed while it wrote
                rows.append(json.loads(line))
    curve = {row["step"]: row["mIoU"] for row in rows if "mIoU" in row}
    if runner.max_iters not in curve:  # killed while it validated
        curve[runner.max_iters] = runner.val_loop.run()["mIoU"]
    return dict(
        curve=[(step, round(float(score), 2)) for step, score in sorted(curve.items())],
        test=test,
        seconds=statistics.median(row["time"] for row in rows if "loss" in row),
        parameters=sum(p.numel() for p in runner.model.parameters()),
    )


def table(found: dict[str, list[dict]]) -> str:
    """The results as Markdown.

    Args:
        found (dict[str, list[dict]]): Config's name -> what :func:`train` returned for each seed.

    Returns:
        str: A row a config; several seeds as mean and range.
    """

    def over_seeds(values: list[float]) -> str:
        mean = f"{statistics.fmean(values):.2f}"
        return mean if len(values) == 1 else f"{mean} ({min(values):.2f} to {max(values):.2f})"

    lines = [
        "| config | parameters (M) | val mIoU | test mIoU | s an iteration |",
        "|---|---|---|---|---|",
    ]
    for name, results in found.items():
        cells = [
            name,
            f"{results[0]['parameters'] / 1e6:.2f}",
            over_seeds([result["curve"][-1][1] for result in results]),
            over_seeds([result["test"] for result in results]),
            f"{statistics.median(result['seconds'] for result in results):.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(found: dict[str, list[dict]], target: Path) -> None:
    """Plot the mIoU on val over the iterations, a colour a config and a line a seed.

    Args:
        found (dict[str, list[dict]]): As for :func:`table`.
        target (Path): Picture to write.
    """
    figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
    styles = product(("-", "--", ":"), plt.colormaps["tab10"].colors)
    for (name, results), (style, colour) in zip(found.items(), styles, strict=False):
        for i, result in enumerate(results):
            label = None if i else name
            axis.plot(*zip(*result["curve"], strict=True), style, color=colour, label=label)
    axis.set(xlabel="iteration", ylabel="mIoU on val (%)")
    axis.grid(alpha=0.3)
    figure.legend(loc="outside lower center", fontsize=7, ncols=2)
    figure.savefig(target, dpi=120)
    plt.close(figure)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="files, or packaged names")
    parser.add_argument(
        "--iterations", type=positive, required=True, metavar="N", help="of each run"
    )
    parser.add_argument("--batch-size", type=positive, metavar="N", help="(the configs')")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="SEED", help="(0)")
    parser.add_argument("--random-weights", action="store_true", help="train from scratch")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="for all configs")
    parser.add_argument(
        "--out", type=output_folder, default=Path("work_dirs/compare"), metavar="DIR"
    )
    args = parser.parse_args()
    runs = []
    try:
        for name in args.configs:
            config = resolved_config(name)
            loaders = ("train_dataloader", "val_dataloader", "test_dataloader")
            require_parts(config, "train_cfg", *loaders, "val_evaluator", "test_evaluator")
            under_schedule(config, args.iterations, args.batch_size)
            if args.random_weights:
                config.model = from_scratch(config.model)
            config.merge_from_dict(args.cfg_options or {})
            require_buildable(config)
            stem = Path(config.filename).stem
            for seed in args.seeds:
                seeded = resolved_config(config)
                seeded.merge_from_dict({"randomness.seed": seed})
                folder = args.out / f"{stem}_{args.iterations}iters_seed{seed}"
                runs.append((stem, seeded, folder))
        for _, config, folder in runs:
            claim(folder, config)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    found: dict[str, list[dict]] = {}
    for stem, config, folder in runs:
        file = folder / "result.json"
        if not file.exists():
            # A process each, as MMEngine's loggers are one a process.
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                result = pool.submit(train, config, folder).result()
            file.write_text(json.dumps(result, indent=1))
        found.setdefault(stem, []).append(json.loads(file.read_text()))
    draw(found, args.out / "curves.png")
    print(table(found))
    print(f"curves: {args.out / 'curves.png'}")


if __name__ == "__main__":
    main()
