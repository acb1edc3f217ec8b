"""Convert a published DeepLab checkpoint for this package.

python tools/model_converters/deeplab2mmseg.py xception_65/model.ckpt pretrained/xception_65.pth

Of the authors' archives give what stands before ``.index``; PyTorch files (jfzhang95, VainF, timm)
as they are. A file of ImageNet weights becomes weights of the backbone, any other of a segmentor.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from mmseg_papers.checkpoints import convert_state_dict, read_tensorflow_checkpoint

#: Where the ports keep the weights in their files.
STATE_DICTS = ("state_dict", "model_state")


def read(source: Path) -> dict[str, Tensor]:
    """The weights of a TensorFlow checkpoint or a PyTorch file.

    Args:
        source (Path): A checkpoint's prefix or ``.index``, or a PyTorch file.

    Returns:
        dict[str, Tensor]: Under the names of the file.

    Raises:
        FileNotFoundError: If there is neither.
    """
    if source.suffix == ".index" or Path(f"{source}.index").exists():
        return read_tensorflow_checkpoint(source)
    if not source.exists():
        raise FileNotFoundError(f"there is neither {source} nor {source}.index")
    file = torch.load(source, map_location="cpu", weights_only=True)
    return next((file[name] for name in STATE_DICTS if name in file), file)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="checkpoint without .index, or a PyTorch file")
    parser.add_argument("target", type=Path, help="PyTorch file to write")
    parser.add_argument(
        "--drop-background",
        action="store_true",
        help="leave out class 0, which the authors' ADE20K file has for ignored pixels",
    )
    args = parser.parse_args()
    try:
        weights = convert_state_dict(
            "deeplab", read(args.source), drop_background=args.drop_background
        )
    except (OSError, ValueError, RuntimeError, EOFError, UnpicklingError) as error:
        parser.exit(1, f"{args.source} cannot be converted: {error}\n")
    args.target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=weights), args.target)
    print(f"wrote {len(weights)} tensors to {args.target}")


if __name__ == "__main__":
    main()
