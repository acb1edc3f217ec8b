"""Drop what only DSRL's training needs from a checkpoint.

python tools/model_converters/publish_dsrl.py work_dirs/NAME/iter_120000.pth dsrl.pth

The optimizer's state goes, and the SISR branch and feature transform: the result loads into the
config with sisr_head, feature_transform and loss_fa set to None, and into any that ignores them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from mmengine.runner import CheckpointLoader

from mmseg_papers.models.segmentors.dsrl_encoder_decoder import without_training_branches


def publish(checkpoint: Path, out: Path) -> list[str]:
    """Write the weights that inference needs.

    Args:
        checkpoint (Path): Of a training run, or weights alone.
        out (Path): The file to write.

    Returns:
        list[str]: The keys that were dropped.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the checkpoint holds nothing to drop, so is of no DSRL training.
    """
    content = CheckpointLoader.load_checkpoint(str(checkpoint), map_location="cpu")
    weights = content.get("state_dict", content)
    kept = without_training_branches(weights)
    dropped = sorted(set(weights) - set(kept))
    if not dropped:
        raise ValueError(f"{checkpoint} has no SISR branch: it is no checkpoint of a DSRL training")
    meta = content.get("meta", {}) if "state_dict" in content else {}
    torch.save(dict(state_dict=kept, meta=meta), out)
    return dropped


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    try:
        dropped = publish(args.checkpoint, args.out)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    sizes = [file.stat().st_size / 2**20 for file in (args.checkpoint, args.out)]
    print(
        f"wrote {args.out}: {sizes[1]:.1f} MiB of {sizes[0]:.1f} MiB, without {len(dropped)} "
        "entries of the SISR branch and the feature transform"
    )


if __name__ == "__main__":
    main()
