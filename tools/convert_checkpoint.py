"""Convert a checkpoint of a paper's authors for this package.

python tools/convert_checkpoint.py PAPER SOURCE TARGET

SOURCE is a path or URL: a PyTorch or safetensors file, a TensorFlow checkpoint (what stands before
.index) or a .tar.gz of one, or for RefineNet a MATLAB file. Options of the paper's converter and
digits that the file's SHA-256 begins with follow it in quotes: 'SOURCE#drop_background=true' or
'SOURCE#mat_file=voc&sha256=1234abcd'. ImageNet weights become a backbone's, others a segmentor's.
The log says what is in the file, and the licence of the authors' files: what is converted keeps it.
Without this step, papers://PAPER/SOURCE works wherever MMEngine takes a checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmseg_papers.checkpoints import CONVERTERS
from mmseg_papers.checkpoints.files import save_whole
from mmseg_papers.checkpoints.loading import load_from_authors


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paper", help=f"of {', '.join(CONVERTERS)}")
    parser.add_argument("source", help="path or URL, perhaps with #options")
    parser.add_argument("target", type=Path, help="PyTorch or .safetensors file to write")
    args = parser.parse_args()
    try:
        weights = load_from_authors(f"papers://{args.paper}/{args.source}")["state_dict"]
        # A plain dict: what is written is ours, not the authors'.
        save_whole(dict(state_dict=dict(weights)), args.target)
    except (OSError, ValueError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"wrote {len(weights)} tensors to {args.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
