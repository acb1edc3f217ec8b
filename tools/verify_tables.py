"""Count the models' parameters and multiply-adds and compare them with the published tables.

    python tools/verify_tables.py            # every config with a published count
    python tools/verify_tables.py 'hanet*'   # some, those without a published count too

One convention for all: parameters are those of training, auxiliary heads included. Multiply-adds
are those of the convolutions and matrix products of one image through the predicting network up to
its logits, with each operation in its plain formula; a multiplication and its addition are one.
The published ones, and why they differ, are ``Published`` in ``configs/*/metafile.yaml``. A
``Difference`` that begins with "not explained" is known, but open; the last line counts these.

Exits with 1 if nothing fits the pattern, a metafile is wrong, or one is silent about a difference.
"""

from __future__ import annotations

import argparse
import sys

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmseg_papers.apis import Entry, entries, multiply_adds
from mmseg_papers.ops import use_references

#: How a metafile begins a difference whose reason nobody knows.
OPEN = "not explained"
UNITS = {
    "Parameters (M)": 1e6,
    "Multiply-adds (M)": 1e6,
    "Multiply-adds (G)": 1e9,
    "Multiply-adds (2^30)": 2**30,
}


def count(entry: Entry) -> tuple[int, int]:
    """Parameters and multiply-adds of a config's model.

    Args:
        entry (Entry): The config.

    Returns:
        tuple[int, int]: Both, of an image of ``entry.input_size``.
    """
    with torch.device("meta"), use_references():
        model = MODELS.build(Config.fromfile(entry.config).model)
        parameters = sum(p.numel() for p in model.parameters())
        model = revert_sync_batchnorm(model).to("meta").eval()
        return parameters, multiply_adds(model, torch.empty(1, 3, *entry.input_size))


def compare(entry: Entry, parameters: int, operations: int) -> list[tuple[str, ...]]:
    """Rows of the table.

    Args:
        entry (Entry): The config.
        parameters (int): As counted.
        operations (int): Multiply-adds, as counted.

    Returns:
        list[tuple[str, ...]]: Config, quantity, ours, published, difference, source and explanation
        of each published count. One that needs no explanation equals ours in its digits.
    """
    rows = []
    for row in entry.published:
        value = parameters if row["Quantity"].startswith("Parameters") else operations
        digits = len(row["Value"].partition(".")[2])
        ours = f"{value / UNITS[row['Quantity']]:.{digits}f}"
        difference = f"{float(ours) - float(row['Value']):+.{digits}f}"
        if float(difference) == 0:
            difference = "0"
        source = row["Source"] + (f": {row['Difference']}" if "Difference" in row else "")
        rows.append((entry.name, row["Quantity"], ours, row["Value"], difference, source))
    return rows


def faults(entry: Entry, parameters: int, operations: int) -> list[str]:
    """What in a metafile is not so.

    Args:
        entry (Entry): The config.
        parameters (int): As counted.
        operations (int): Multiply-adds, as counted.

    Returns:
        list[str]: One message each; empty if all is right.
    """
    found = []
    for key, value, listed in (
        ("Parameters (M)", parameters / 1e6, entry.parameters),
        ("Multiply-adds (G)", operations / 1e9, entry.multiply_adds),
    ):
        if round(value, 2) != listed:
            found.append(f"{entry.name}: {key} is {value:.2f}, its metafile says {listed}")
    rows = compare(entry, parameters, operations)
    for published, (_, quantity, ours, value, difference, _) in zip(
        entry.published, rows, strict=True
    ):
        if (difference == "0") == ("Difference" in published):
            state = "is explained, but equal" if difference == "0" else "has no Difference"
            found.append(f"{entry.name}: {quantity} {ours} against {value} {state}")
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv (list[str], optional): Arguments. Default: those of the process.

    Returns:
        int: Exit status, 0 or 1.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("pattern", nargs="?", help="of configs' or papers' names, as `list` takes")
    args = parser.parse_args(argv)
    init_default_scope("mmseg")
    chosen = entries(args.pattern or "*")
    if not chosen:
        print(f"no config and no paper fits {args.pattern!r}", file=sys.stderr)
        return 1
    if args.pattern is None:
        chosen = [entry for entry in chosen if entry.published]
    found = []
    print("config | quantity | ours | published | difference | source and explanation")
    print("---|---|---|---|---|---")
    for entry in chosen:
        counts = count(entry)
        for row in compare(entry, *counts):
            print(" | ".join(row), flush=True)
        found += faults(entry, *counts)
    reasons = [row.get("Difference", "") for entry in chosen for row in entry.published]
    unexplained = sum(reason.startswith(OPEN) for reason in reasons)
    print(f"\n{unexplained} of {sum(map(bool, reasons))} differences are not explained")
    for fault in found:
        print(fault, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
