"""Make of a training's checkpoint a file to publish, and its entry in a metafile.

python tools/publish_checkpoint.py work_dirs/NAME/iter_20000.pth NAME.pth

The optimizer's and the training's state go, and what only training uses: DSRL's SISR branch and
feature transform. The file's name gets the first eight digits of its SHA-256, by which MMEngine and
`python -m mmseg_papers download` check it.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import torch

from mmseg_papers.checkpoints.loading import read_weights, save_whole
from mmseg_papers.models.segmentors.dsrl_encoder_decoder import without_training_branches


def publish(source: Path, target: Path) -> Path:
    """Write the weights that inference needs.

    Args:
        source (Path): Of a training of this package or of MMSegmentation.
        target (Path): Without the digits.

    Returns:
        Path: The file that was written, with them.

    Raises:
        ValueError: If the source is no checkpoint of a training.
        OSError: If it cannot be read, or the target not be written.
    """
    content = read_weights(str(source))
    if "state_dict" not in content:
        raise ValueError(f"{source} has no state_dict: it is no checkpoint of a training")
    meta = {k: v for k, v in content.get("meta", {}).items() if k in ("dataset_meta", "cfg")}
    weights = without_training_branches(content["state_dict"])
    weights = {name: value.cpu().clone() for name, value in weights.items()}
    unnamed = save_whole(dict(state_dict=weights, meta=meta), target)
    digits = hashlib.sha256(unnamed.read_bytes()).hexdigest()[:8]
    return unnamed.rename(target.with_name(f"{target.stem}-{digits}{target.suffix}"))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, help="name without the digits, ending in .pth")
    args = parser.parse_args()
    try:
        written = publish(args.source, args.target)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    before, after = (file.stat().st_size / 2**20 for file in (args.source, written))
    tensors = len(torch.load(written, weights_only=True)["state_dict"])
    print(f"wrote {written}: {tensors} tensors, {after:.1f} MiB of {before:.1f} MiB")
    print("once it is hosted, enter it into the metafile at its config's model:")
    print(f"  Weights: https://YOUR.HOST/{written.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
