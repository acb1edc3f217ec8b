"""Convert a checkpoint of a paper's authors for this package.

python tools/convert_checkpoint.py PAPER SOURCE TARGET [--options NAME=VALUE ..] [--sha256 DIGITS]

SOURCE is a path or URL: a PyTorch or safetensors file, a TensorFlow checkpoint (what stands before
.index) or a .tar.gz of one. ImageNet weights become a backbone's, others a segmentor's.
Without this step, papers://PAPER/SOURCE works wherever MMEngine takes a checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmseg_papers.checkpoints import CONVERTERS
from mmseg_papers.checkpoints.loading import convert_file, save_whole


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("paper", help=f"of {', '.join(CONVERTERS)}")
    parser.add_argument("source", help="path or URL")
    parser.add_argument("target", type=Path, help="PyTorch or .safetensors file to write")
    parser.add_argument(
        "--options",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="of the paper's converter, such as drop_background=True or mat_file=voc",
    )
    parser.add_argument("--sha256", metavar="DIGITS", help="that the file's SHA-256 begins with")
    args = parser.parse_args()
    try:
        options = dict(option.split("=", 1) for option in args.options)
    except ValueError:
        parser.error(f"--options must be NAME=VALUE, got {' '.join(args.options)}")
    try:
        weights = convert_file(args.paper, args.source, options, args.sha256)
        save_whole(dict(state_dict=weights), args.target)
    except (OSError, ValueError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"wrote {len(weights)} tensors to {args.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
