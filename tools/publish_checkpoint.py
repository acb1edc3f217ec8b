"""Make of a training's checkpoint a file to publish, and its entry in a metafile.

python tools/publish_checkpoint.py work_dirs/NAME/iter_20000.pth published/NAME.pth --license MIT

The optimizer's and the training's state go, and what only training uses: DSRL's SISR branch and
feature transform. The name of the file gets the first eight digits of its SHA-256, as PyTorch's hub
expects it.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

from mmseg_papers.checkpoints.files import read_weights, save_whole
from mmseg_papers.models.segmentors.dsrl_encoder_decoder import without_training_branches


def publish(source: Path, target: Path) -> tuple[Path, str]:
    """Write the weights that inference needs, with the config and the classes.

    Args:
        source (Path): Checkpoint of a training of this package or of MMSegmentation.
        target (Path): Without the digits.

    Returns:
        tuple[Path, str]: The file that was written, and its SHA-256.

    Raises:
        ValueError: If the source is no checkpoint of a training.
        OSError: If it cannot be read, or the target not be written.
    """
    content = read_weights(str(source))
    if "state_dict" not in content:
        raise ValueError(f"{source} has no state_dict: it is no checkpoint of a training")
    meta = content.get("meta") or {}
    meta = {k: v for k, v in meta.items() if k in ("dataset_meta", "cfg")}
    weights = without_training_branches(content["state_dict"])
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        unnamed = Path(folder) / target.name
        # A view into a larger tensor would be saved with all of it.
        state_dict = {name: value.clone() for name, value in weights.items()}
        save_whole(dict(state_dict=state_dict, meta=meta), unnamed)
        digest = hashlib.sha256(unnamed.read_bytes()).hexdigest()
        named = target.with_name(f"{target.stem}-{digest[:8]}{target.suffix}")
        return unnamed.replace(named), digest


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, help="named after the config, without the digits")
    parser.add_argument("--license", default="YOUR LICENSE", help="of the weights")
    args = parser.parse_args()
    try:
        written, digest = publish(args.source, args.target)
    except (OSError, ValueError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    before, after = (file.stat().st_size / 2**20 for file in (args.source, written))
    print(f"wrote {written}, {after:.1f} MiB of {before:.1f} MiB; its entry, once it is hosted:")
    print(f"  - Name: {args.target.stem}")
    print(f"    Weights: https://YOUR.HOST/{written.name}")
    print(f"    SHA256: {digest}")
    print(f"    License: {args.license}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
