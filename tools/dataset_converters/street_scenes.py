"""Writes synthetic street scenes in the Cityscapes layout.

Example:
    python tools/dataset_converters/street_scenes.py data/street_scenes --train 400 --val 100
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmseg_papers.datasets.street_scenes import write_street_scenes


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line.

    Args:
        argv: The arguments, or None for those of the process.
    """
    parser = argparse.ArgumentParser(
        description="Write synthetic street scenes in the Cityscapes layout.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("root", metavar="ROOT", help="folder to make; it must not exist yet")
    parser.add_argument("--train", type=int, default=400, metavar="N", help="training scenes")
    parser.add_argument("--val", type=int, default=100, metavar="N", help="validation scenes")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(256, 512), metavar=("H", "W"), help="pixels"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="decides all scenes")
    args = parser.parse_args(argv)
    try:
        write_street_scenes(args.root, args.train, args.val, tuple(args.size), args.seed)
    except (ValueError, OSError) as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")
    print(f"Wrote {args.train} training and {args.val} validation scenes to {args.root}")


if __name__ == "__main__":
    main()
