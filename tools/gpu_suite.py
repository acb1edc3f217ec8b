"""Everything that a GPU has to show, in pieces that fit a short loan of one.

    python tools/gpu_suite.py [PIECE ..] [--minutes 9] [--out DIR]
    python tools/gpu_suite.py --report

Runs the pieces that have no result in --out/results.json yet, each in a process of its own, until
--minutes are over; the next call goes on. A piece that failed has its error there, and --retry runs
it again. A PIECE is a name or a pattern such as 'op:*'; --list prints all. --tiny rehearses with
small sizes on any machine. --report prints the tables of what is there.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os

# Or asking for a GPU, as imports do, keeps the processes that are forked below from using it.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

import platform
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import benchmark
import compare
import mmseg
import torch
from benchmark_tasks import device, random_map
from mmengine.config import Config

from mmseg_papers import ops
from mmseg_papers.apis import on_own_data, with_crop_size
from mmseg_papers.apis.configs import resolved_config
from mmseg_papers.datasets import CamVidDataset

ROOT = Path(__file__).parents[1]
#: Config -> size and batch of a training step: the papers' crops.
MODELS = {
    "hrnetv2/hrnetv2_w48_4xb3-120k_cityscapes-512x1024": ((512, 1024), 3),
    "ocrnet/ocrnet_hrnetv2-w48_4xb3-120k_cityscapes-512x1024": ((512, 1024), 3),
    "deeplabv3/deeplabv3_r101-mg124_4xb4-30k_voc12aug-513x513": ((513, 513), 4),
    "deeplabv3plus/deeplabv3plus_r101-mg124_4xb4-30k_voc12aug-513x513": ((513, 513), 4),
    "deeplabv3plus/deeplabv3plus_x65_4xb4-30k_voc12aug-513x513": ((513, 513), 4),
    "denseaspp/denseaspp_densenet161-d8_4xb2-30k_cityscapes-512x512": ((512, 512), 2),
    "refinenet/refinenet_r101_4xb2-60k_voc12aug-480x480": ((480, 480), 2),
    "spnet/spnet_r101-d8_4xb4-152k_ade20k-480x480": ((480, 480), 4),
    "cpnet/cpnet_r101-d8_4xb4-80k_ade20k-480x480": ((480, 480), 4),
    "hanet/hanet_r101-os8_2xb4-40k_cityscapes-768x768": ((768, 768), 4),
    "dsrl/dsrl_deeplabv3plus-r101-in256x512_4xb4-120k_cityscapes-512x1024": ((512, 1024), 4),
}
#: Configs that are trained on CamVid, with one schedule, data and seed.
CAMVID = sorted(path.stem for path in (ROOT / "configs").glob("*/*_camvid-360x480.py"))
CAMVID_ITERS = 4000
#: Configs of mmseg that are trained so, too.
BASELINES = (
    "fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024",
    "deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024",
)
#: Configs that are trained with a second seed.
TWICE = (
    "hrnetv2_w48_1xb8-20k_camvid-360x480",
    "deeplabv3plus_r50-mg124_1xb8-20k_camvid-360x480",
    "spnet_r50-d8_1xb8-20k_camvid-360x480",
)
DETERMINISTIC = "hrnetv2/hrnetv2_w18-small-v2_1xb8-20k_camvid-360x480"
SLOWEST = 3


def card(tiny: bool) -> dict:
    """What the card can do: bandwidth of a copy, rate of a product of matrices."""
    mib = 2**20 if tiny else 2**30
    x = torch.empty(mib, dtype=torch.uint8, device=device())
    copied = torch.empty_like(x)
    rates = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        side = 256 if tiny else 8192
        a = torch.randn(side, side, device=device(), dtype=dtype)
        rates[name] = 2 * side**3 / fastest(partial(torch.mm, a, a)) / 1e12
    return dict(
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor(),
        torch=torch.__version__,
        cuda=torch.version.cuda,
        gb_per_s=2 * mib / fastest(lambda: copied.copy_(x)) / 1e9,
        tflop_per_s=rates,
    )


def fastest(run: Callable) -> float:
    """Seconds of the fastest of ten runs, after one to warm up."""
    seconds = []
    for _ in range(11):
        start = time.perf_counter()
        run()
        synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def tests(tiny: bool) -> dict:
    """The operations' tests on CUDA; ``tiny`` collects them only."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_ops"]
    command += ["--collect-only"] if tiny else ["-m", "cuda"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return dict(passed=done.returncode == 0, output=(done.stdout + done.stderr)[-4000:])


def memory_check(tiny: bool, operation: str) -> dict:
    """The tests of an operation's kernels under CUDA's memory checker, where it is installed."""
    checker = shutil.which("compute-sanitizer")
    if checker is None or tiny:
        return dict(passed=None, output="compute-sanitizer is not installed or not asked for")
    command = [checker, "--error-exitcode", "9", sys.executable, "-m", "pytest", "-q", "-x"]
    command += ["-m", "cuda", f"tests/test_ops/test_{operation}.py"]
    # PyTorch's allocator would put a neighbour where nothing may be read.
    env = dict(os.environ, PYTORCH_NO_CUDA_MEMORY_CACHING="1")
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return dict(passed=done.returncode == 0, output=(done.stdout + done.stderr)[-4000:])


def operation(tiny: bool, name: str) -> dict:
    """Time and memory of an operation, and the bytes of its inputs and outputs, which must move."""
    rows = []
    for task in benchmark.op_tasks([name])[: 1 if tiny else None]:
        before = torch.cuda.memory_allocated() if torch.cuda.is_available() else 0
        run = task.make("ours", torch.channels_last)
        held = torch.cuda.memory_allocated() - before if torch.cuda.is_available() else 0
        least = held + sum(x.numel() * x.element_size() for x in run())
        del run
        rows += [
            dict(asdict(r), least_bytes=least)
            for r in benchmark.measure(task, repeats=1 if tiny else 20, threads=1)
        ]
    return dict(results=rows)


def model(tiny: bool, name: str, compiled: bool) -> dict:
    """Training step and evaluation of a model, against mmseg's or the plain formulas."""
    size, batch = MODELS[name]
    if tiny:  # CPNet's prior fits its crop only
        size, batch = size if name.startswith("cpnet/") else (64, 128), 2
    file = str(ROOT / "configs" / f"{name}.py")
    rows = []
    for task in benchmark.model_tasks(file, size, batch, None, compiled):
        rows += map(asdict, benchmark.measure(task, repeats=1 if tiny else 5, threads=1))
    return dict(size=size, batch=batch, compiled=compiled, results=rows)


def deterministic(tiny: bool) -> dict:
    """Losses of 100 iterations twice, and what determinism costs: ours, and PyTorch's own way."""
    runs: dict[str, dict] = {}
    for name, plain, switched_on in (
        ("ours, deterministic", False, True),
        ("ours, deterministic again", False, True),
        ("ours", False, False),
        ("plain formulas, deterministic", True, True),
        ("plain formulas", True, False),
    ):
        torch.use_deterministic_algorithms(switched_on, warn_only=True)
        torch.backends.cudnn.benchmark = not switched_on
        try:
            with (
                warnings.catch_warnings(record=True) as caught,
                ops.use_references() if plain else nullcontext(),
            ):
                warnings.simplefilter("always")
                runs[name] = dict(train(tiny), left=sorted({str(w.message)[:100] for w in caught}))
        finally:  # or what runs next is measured in this mode
            torch.use_deterministic_algorithms(False)
            torch.backends.cudnn.benchmark = False
    first, second = runs["ours, deterministic"], runs["ours, deterministic again"]
    return dict(bit_identical=first["losses"] == second["losses"], runs=runs)


def train(tiny: bool) -> dict:
    """Losses and median seconds of iterations on one random batch."""
    config = Config.fromfile(ROOT / "configs" / f"{DETERMINISTIC}.py")
    size, iterations = ((64, 96), 2) if tiny else ((360, 480), 100)
    network = benchmark.build_model(config, "ours", torch.channels_last).train()
    images = random_map((2 if tiny else 8, 3, *size), torch.channels_last)
    labels = benchmark.samples(config, size, len(images))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    losses, seconds = [], []
    for _ in range(iterations):
        start = time.perf_counter()
        loss, _ = network.parse_losses(network(images, labels, mode="loss"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        synchronize()
        seconds.append(time.perf_counter() - start)
        losses.append(loss.item())
    return dict(losses=losses, seconds=sorted(seconds)[len(seconds) // 2])


def profile(out: Path) -> dict | None:
    """Where the time of the models goes whose training gains least; ``None`` without any."""
    gains = {}
    for name in MODELS:
        rows = results(out).get(f"model:{name}", {}).get("results", [])
        found = [benchmark.Result(**row) for row in rows if row["task"].startswith("train")]
        for by_layout in benchmark.ratios(found).values():
            gains[name] = min(time for time, _ in by_layout.values())
    if not gains:
        return None
    tables = {}
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    for name in sorted(gains, key=gains.get, reverse=True)[:SLOWEST]:
        size, batch = MODELS[name]
        file = str(ROOT / "configs" / f"{name}.py")
        task = benchmark.model_tasks(file, size, batch, "train")[0]
        run = task.make("ours", torch.channels_last)
        run()
        with torch.profiler.profile(activities=activities) as profiler:
            run()
            synchronize()
        key = "cuda_time_total" if torch.cuda.is_available() else "cpu_time_total"
        tables[name] = profiler.key_averages().table(sort_by=key, row_limit=25)
    return dict(gains=gains, tables=tables)


def camvid_config(name: str) -> Config:
    """A config of ours on CamVid, or one of mmseg's turned to it."""
    if name in CAMVID:
        return resolved_config(name)
    config = Config.fromfile(Path(mmseg.__file__).parent / ".mim" / "configs" / f"{name}.py")
    ours = resolved_config(CAMVID[0])
    classes = CamVidDataset.METAINFO["classes"]
    config = on_own_data(with_crop_size(config, ours.crop_size), ours.data_root, classes)
    config.test_dataloader.dataset.data_prefix = ours.test_dataloader.dataset.data_prefix
    return config


def camvid(tiny: bool, name: str, seed: int, out: Path) -> dict:
    """Train a config on CamVid, from where an earlier call was cut off."""
    config = camvid_config(name)
    if tiny:
        config = with_crop_size(config, (96, 128))
    out = out / "camvid"
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{Path(name).name}.py"
    config.dump(file)
    command = [sys.executable, str(ROOT / "tools" / "compare.py"), str(file), "--random-weights"]
    command += ["--iterations", str(2 if tiny else CAMVID_ITERS), "--batch-size", "8"]
    command += ["--seeds", str(seed), "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-2000:])
    (result,) = out.glob(f"{file.stem}_*_seed{seed}/result.json")
    return dict(config=file.stem, **json.loads(result.read_text()))


def pieces(tiny: bool, out: Path) -> dict[str, Callable[[], dict | None]]:
    """Name -> what to run, in the order of their worth."""
    found: dict[str, Callable[[], dict | None]] = {
        "card": partial(card, tiny),
        "tests": partial(tests, tiny),
        "deterministic": partial(deterministic, tiny),
    }
    found |= {f"model:{name}": partial(model, tiny, name, compiled=False) for name in MODELS}
    found |= {f"op:{name}": partial(operation, tiny, name) for name in benchmark.OPS}
    found |= {f"compiled:{name}": partial(model, tiny, name, compiled=True) for name in MODELS}
    found["profile"] = partial(profile, out)
    for file in sorted((ROOT / "mmseg_papers" / "ops").glob("*_triton.py")):
        name = file.stem.removesuffix("_triton")
        found[f"memory_check:{name}"] = partial(memory_check, tiny, name)
    runs = [(name, 0) for name in (*CAMVID, *BASELINES)] + [(name, 1) for name in TWICE]
    for name, seed in runs:
        found[f"camvid:{name}:{seed}"] = partial(camvid, tiny, name, seed, out)
    return found


def results(out: Path) -> dict[str, dict]:
    """Piece -> its result, or ``error``, as earlier calls left them."""
    file = out / "results.json"
    return json.loads(file.read_text()) if file.exists() else {}


def keep(out: Path, name: str, result: dict | None) -> None:
    """Add a result to the file, whole or not at all; ``None`` removes an earlier one."""
    out.mkdir(parents=True, exist_ok=True)
    kept = {piece: r for piece, r in (results(out) | {name: result}).items() if r is not None}
    partial_file = out / "results.partial"
    partial_file.write_text(json.dumps(kept, indent=1))
    partial_file.replace(out / "results.json")


def start_method() -> str:
    """``'fork'``, which imports nothing again, if a forked process can use the GPU."""
    process = get_context("fork").Process(target=synchronize)
    process.start()
    process.join()
    return "spawn" if process.exitcode else "fork"


def work(name: str, piece: Callable[[], dict | None], out: Path) -> None:
    """Run a piece in a process of its own, and keep what it gives."""
    os.setsid()  # so that it can be killed with its own processes
    try:
        result = piece()
    except Exception:
        result = dict(error=traceback.format_exc()[-4000:])
    if result is not None:
        keep(out, name, result)


def stop(process: BaseProcess) -> None:
    """End a process and those that it has started."""
    if process.is_alive():
        with suppress(ProcessLookupError):  # it has no group of its own yet
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    process.join()


def run(wanted: list[str], out: Path, minutes: float, tiny: bool, retry: bool) -> int:
    """Run pieces until the time is over; 1 if one failed."""
    context = get_context(start_method())
    end = time.monotonic() + 60 * minutes
    failed = 0
    for name, piece in pieces(tiny, out).items():
        earlier = results(out).get(name)
        if earlier is not None and not (retry and "error" in earlier):
            continue
        if not any(fnmatch.fnmatch(name, pattern) for pattern in wanted):
            continue
        if time.monotonic() > end:
            print("the time is over; call again to go on")
            break
        if earlier is not None:
            keep(out, name, None)
        start = time.monotonic()
        # A fault of one kernel ends all that a process does on a GPU.
        process = context.Process(target=work, args=(name, piece, out))
        process.start()
        try:
            process.join(max(end - start, 0))
            is_cut_off = process.is_alive()
        finally:
            stop(process)
        if is_cut_off and end - start > 54 * minutes and not name.startswith("camvid:"):
            keep(out, name, dict(error="takes longer than a call"))
        elif process.exitcode and not is_cut_off:
            keep(out, name, dict(error=f"the process ended with {process.exitcode}"))
        after = results(out).get(name)
        if after is None:
            state = "not done yet, call again" if is_cut_off else "nothing to do yet"
        elif "error" in after:
            state, failed = f"FAILED: {after['error']}", 1
        else:
            state = "done"
        print(f"{name}: {state}, {time.monotonic() - start:.0f} s", flush=True)
    return failed


def report(out: Path) -> str:
    """Markdown tables of the results that are there."""
    found = {name: result for name, result in results(out).items() if "error" not in result}
    lines = []
    if about := found.get("card"):
        rates = ", ".join(f"{k} {v:.1f}" for k, v in about["tflop_per_s"].items())
        lines += [
            f"{about['device']}, PyTorch {about['torch']}, CUDA {about['cuda']}: copy "
            f"{about['gb_per_s']:.0f} GB/s, products {rates} TFLOP/s",
            "",
        ]
    lines += ["| task | layout | stock | ours | time | memory | error | GB/s of ours | of a copy |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for name, result in sorted(found.items()):
        if name.partition(":")[0] not in ("op", "model", "compiled"):
            continue
        kind = " (compiled, bf16)" if name.startswith("compiled") else ""
        rows = {(r["task"], r["variant"], r["layout"]): r for r in result["results"]}
        objects = [
            benchmark.Result(**{k: v for k, v in r.items() if k != "least_bytes"})
            for r in result["results"]
        ]
        for task, by_layout in benchmark.ratios(objects).items():
            for layout, (ratio, memory) in by_layout.items():
                ours, stock = rows[task, "ours", layout], rows[task, "stock", layout]
                rate = share = ""
                if "least_bytes" in ours:
                    speed = ours["least_bytes"] / ours["seconds"] / 1e9
                    rate = f"{speed:.0f}"
                    share = f"{speed / about['gb_per_s']:.0%}" if about else ""
                times = [f"{r['seconds'] * 1e3:.2f} ms" for r in (stock, ours)]
                cells = [f"{task}{kind}", layout, *times, f"{ratio:.2f}", f"{memory:.2f}"]
                error = f"{max(ours['errors']):.0e}" + " (too much)" * (not ours["agrees"])
                lines.append(f"| {' | '.join([*cells, error, rate, share])} |")
    if result := found.get("deterministic"):
        same = "bit-identical" if result["bit_identical"] else "NOT bit-identical"
        lines += ["", f"Two deterministic runs are {same}.", "", "| run | ms an iteration | left |"]
        lines += ["|---|---|---|"]
        for name, r in result["runs"].items():
            lines.append(f"| {name} | {r['seconds'] * 1e3:.1f} | {'; '.join(r['left'])} |")
    trained: dict[str, list[dict]] = {}
    for name, result in sorted(found.items()):
        if name.startswith("camvid:"):
            trained.setdefault(result["config"], []).append(result)
    if trained:
        compare.draw(trained, out / "camvid.png")
        lines += ["", compare.table(trained), "", f"curves: {out / 'camvid.png'}"]
    for name, result in results(out).items():
        if "error" in result:
            lines += ["", f"{name} failed: {result['error']}"]
    return "\n".join(lines)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wanted", nargs="*", default=["*"], metavar="PIECE")
    parser.add_argument("--minutes", type=float, default=9, help="of this call (9)")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/gpu_suite"), metavar="DIR")
    parser.add_argument("--tiny", action="store_true", help="rehearse at small sizes")
    parser.add_argument("--list", action="store_true", help="print the pieces")
    parser.add_argument("--retry", action="store_true", help="what failed, too")
    parser.add_argument("--report", action="store_true", help="print tables of the results")
    args = parser.parse_args()
    if args.report:
        print(report(args.out))
        return 0
    names = list(pieces(args.tiny, args.out))
    for pattern in args.wanted:
        if not fnmatch.filter(names, pattern):
            parser.error(f"no piece {pattern}; --list prints all")
    if args.list:
        print("\n".join(names))
        return 0
    if not (args.tiny or torch.cuda.is_available()):
        parser.error("PyTorch finds no GPU here; --tiny rehearses without one")
    return run(args.wanted, args.out, args.minutes, args.tiny, args.retry)


if __name__ == "__main__":
    sys.exit(main())
