"""Write a model as an ONNX or torch.export file without operations of this package.

    python tools/export.py CONFIG CHECKPOINT model.onnx [--output labels]
    python tools/export.py CONFIG CHECKPOINT model.pt2 [--size 512 1024]

The graph takes normalised images (N, C, H, W) and gives class scores (N, K, H, W), or labels
(N, H, W). Batch and size are free unless the model fits one size or ``--size`` is given. What is
needed around it is in the file's metadata, which tools/deployment/onnx_labels.py reads. The file
is compared with PyTorch before it is written.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.config import Config, DictAction
from mmengine.model import BaseModel, revert_sync_batchnorm
from torch import Tensor, nn

from mmseg_papers.apis.configs import resolved_config, transform_name
from mmseg_papers.apis.predictor import inner_dataset, load_model, names_and_colors
from mmseg_papers.arguments import positive
from mmseg_papers.models.decode_heads import CPHead
from mmseg_papers.models.segmentors import FlipSlideEncoderDecoder
from mmseg_papers.models.segmentors.fused_encoder_decoder import last_head
from mmseg_papers.models.segmentors.fused_loss import overrides
from mmseg_papers.models.segmentors.height_attention import HeightAttentionMixin
from mmseg_papers.ops import AdaptiveMeans

SUFFIXES = (".onnx", ".pt2")
OUTPUTS = ("logits", "labels")
#: What a checked file may differ from PyTorch: scores by this; labels by this share of the pixels.
TOLERANCE = 1e-4


class ExportedModel(nn.Module):
    """What a file computes: scores or labels of normalised images.

    Scores are logits; for :class:`FlipSlideEncoderDecoder`, which averages these, probabilities
    averaged over the image and its mirror image. A model of a sliding window is that of one window.

    Args:
        model (BaseModel): A segmentor; its adaptive pools and SyncBN are replaced.
        output (str): ``'logits'`` or ``'labels'``.

    Raises:
        ValueError: If a head computes its predictions in a way that the graph would leave out.
    """

    def __init__(self, model: BaseModel, output: str) -> None:
        super().__init__()
        head = last_head(model)
        for method in ("predict", "predict_by_feat"):
            if overrides(head, method):
                raise ValueError(
                    f"{type(head).__name__} has a {method} of its own, which is no part of the "
                    "graph; only heads with that of mmseg's base class can be exported"
                )
        for name, module in list(model.named_modules()):
            if type(module) is nn.AdaptiveAvgPool2d and module.output_size not in (1, (1, 1)):
                parent, _, child = name.rpartition(".")
                setattr(model.get_submodule(parent), child, AdaptiveMeans(module.output_size))
        self.model = revert_sync_batchnorm(model).eval()
        self.threshold = head.threshold if head.out_channels == 1 else None
        self.output = output

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N, K, H, W), float32, or labels (N, H, W), int64, of images (N, C, H, W)."""
        if isinstance(self.model, FlipSlideEncoderDecoder):
            both = torch.cat([images, images.flip(3)])
            scores = self.model.mean_of_mirror_images(self._logits(both))
        else:
            scores = self._logits(images)
        if self.output == "logits":
            return scores
        if self.threshold is not None:
            return (scores[:, 0].sigmoid() > self.threshold).long()
        return scores.argmax(1)

    def _logits(self, images: Tensor) -> Tensor:
        scale = getattr(self.model, "output_scale", 1)
        size = [scale * length for length in images.shape[2:]]
        return F.interpolate(
            self.model._forward(images),
            size,
            mode="bilinear",
            align_corners=self.model.align_corners,
        )


def export_size(
    model: BaseModel, config: Config, size: Sequence[int] | None
) -> tuple[bool, Sequence[int]]:
    """Whether the file takes every size, and the size at which the graph is recorded.

    Args:
        model (BaseModel): The segmentor.
        config (Config): Its config.
        size (Sequence[int], optional): Height and width that the user asks for.

    Returns:
        tuple[bool, Sequence[int]]: False for CPNet, whose prior fits one size. Height and width
        are the user's or else those of the window or the training crop.
    """
    default = model.test_cfg.get("crop_size") or config.get("crop_size") or (512, 512)
    return size is None and not isinstance(model.decode_head, CPHead), size or default


def record(
    graph: ExportedModel, channels: int, size: Sequence[int], is_dynamic: bool
) -> torch.export.ExportedProgram:
    """Record the graph.

    Args:
        graph (ExportedModel): The model.
        channels (int): Of the images.
        size (Sequence[int]): Height and width of the images it is recorded with.
        is_dynamic (bool): Whether the size stays free; the batch always does.

    Returns:
        torch.export.ExportedProgram: The graph.

    Raises:
        ValueError: If the model computes with its input's size in a way that fixes it.
    """
    free = torch.export.Dim.DYNAMIC
    dims = {0: free, 2: free, 3: free} if is_dynamic else {0: free}
    images = torch.zeros(2, channels, *size)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(graph, (images,), dynamic_shapes=(dims,), strict=False)
    except Exception as error:
        if not is_dynamic:
            raise
        raise ValueError(
            f"{type(graph.model).__name__} cannot be exported for every size; give one with "
            f"--size HEIGHT WIDTH. PyTorch says: {str(error).strip().splitlines()[0]}"
        ) from error


def metadata(model: BaseModel, config: Config) -> dict:
    """What a user of the file must know.

    Args:
        model (BaseModel): The segmentor, which knows its classes.
        config (Config): Its config.

    Returns:
        dict: JSON values; docs/export.md explains the keys.

    Raises:
        ValueError: If the test pipeline or the model needs what the metadata cannot describe.
    """
    dataset = inner_dataset(config.test_dataloader.dataset)
    known = ("LoadImageFromFile", "LoadAnnotations", "Resize", "PackSegInputs")
    steps = {transform_name(step): step for step in dataset.pipeline}
    if set(steps) - set(known):
        raise ValueError(
            f"the test pipeline has {', '.join(sorted(set(steps) - set(known)))}, which users of "
            f"the file could not repeat; a pipeline of {', '.join(known)} can be exported"
        )
    resize = _resize_of(steps["Resize"]) if "Resize" in steps else None
    prepare = config.model.data_preprocessor
    if prepare.get("mean") is None:
        raise ValueError("model.data_preprocessor must have mean and std, one value a channel")
    # MMEngine swaps the channels of images of three, whichever of both options is set.
    swaps = len(prepare.mean) == 3 and (prepare.get("bgr_to_rgb") or prepare.get("rgb_to_bgr"))
    pad = prepare.get("test_cfg")
    slides = model.test_cfg.get("mode") == "slide"
    gates = model.height_attention if isinstance(model, HeightAttentionMixin) else ()
    if (slides or pad) and any(gate.position is not None for gate in gates):
        raise ValueError(
            "height attention with positions must see whole images, which the graph takes its "
            "input for; set test_cfg.mode='whole' and no data_preprocessor.test_cfg"
        )
    is_flip_slide = isinstance(model, FlipSlideEncoderDecoder)
    classes, palette = names_and_colors(model.dataset_meta)
    return {
        "classes": classes,
        "palette": palette,
        "mean": list(prepare.mean),
        "std": list(prepare.std),
        "channel_order": "RGB" if swaps else "as loaded",
        "color_type": steps["LoadImageFromFile"].get("color_type", "color"),
        "resize": resize,
        "pad": pad and {**pad, "value": prepare.get("pad_val", 0)},
        "window": slides and {key: model.test_cfg[key] for key in ("crop_size", "stride")},
        "pad_to_window": is_flip_slide,
        "align_corners": model.align_corners and not is_flip_slide,
    }


def _resize_of(step: dict) -> dict:
    """Scale and keep_ratio of a ``Resize``, as mmcv understands its options."""
    scale = step.get("scale")
    if scale is None:
        raise ValueError(
            "the test pipeline's Resize has a scale_factor, which the metadata cannot describe; "
            "give it scale=(WIDTH, HEIGHT) instead"
        )
    for option, known in (("interpolation", "bilinear"), ("backend", "cv2")):
        if step.get(option, known) != known:
            raise ValueError(
                f"the test pipeline's Resize has {option}={step[option]!r}, which the metadata "
                f"cannot describe; only {known!r} can be exported"
            )
    scale = [scale, scale] if isinstance(scale, int) else list(scale)
    return {"scale": scale, "keep_ratio": step.get("keep_ratio", False)}


def shapes_to_check(size: Sequence[int], channels: int, is_dynamic: bool) -> list[tuple[int, ...]]:
    """Shapes of images: the recorded size and, of a free size, three others, one of them odd."""
    height, width = size
    if not is_dynamic:
        return [(1, channels, height, width), (2, channels, height, width)]
    odd = (height * 3 // 4 | 1, width * 3 // 4 | 1)
    sizes = [
        (1, height, width),
        (2, *odd),
        (1, height, width * 3 // 4),
        (1, height * 5 // 4, width),
    ]
    return [(batch, channels, *rest) for batch, *rest in sizes]


@torch.no_grad()
def largest_difference(
    graph: ExportedModel, run: Callable[[Tensor], Tensor], shapes: Sequence[tuple[int, ...]]
) -> float:
    """Of a file's scores from PyTorch's, or the share of other labels.

    Args:
        graph (ExportedModel): What was exported.
        run (Callable): Runs the file on images.
        shapes (Sequence[tuple[int, ...]]): Of the images, which are noise.

    Returns:
        float: The largest over all shapes.

    Raises:
        ValueError: If the model does not run at one of them.
    """
    differences = []
    for shape in shapes:
        images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        try:
            expected = graph(images)
        except RuntimeError as error:
            raise ValueError(
                f"{type(graph.model).__name__} does not run at {shape[2]}x{shape[3]}; give the one "
                f"size of the file with --size HEIGHT WIDTH. PyTorch says: {error}"
            ) from error
        got = run(images)
        if graph.output == "labels":
            differences.append((expected != got).float().mean().item())
        else:
            differences.append((expected - got).abs().max().item())
    return max(differences)


def write(program: torch.export.ExportedProgram, meta: dict, target: Path) -> None:
    """Write a graph.

    Args:
        program (torch.export.ExportedProgram): The graph.
        meta (dict): Its metadata, written as one JSON text a key.
        target (Path): The file, whose suffix says the format.
    """
    texts = {key: json.dumps(value) for key, value in meta.items()}
    if target.suffix == ".pt2":
        torch.export.save(program, target, extra_files=texts)
        return
    import onnx

    # That torchvision is not installed, which nothing here needs.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.onnx.export(program, dynamo=True, verbose=False).model_proto
    onnx.helper.set_model_props(model, texts)
    onnx.checker.check_model(model)
    onnx.save(model, target)


def runner(file: Path) -> Callable[[Tensor], Tensor]:
    """A function that runs a file on images."""
    if file.suffix == ".pt2":
        return torch.export.load(file).module()
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    return lambda x: torch.from_numpy(session.run(None, {images.name: x.numpy()})[0])


def export(
    config: Config,
    checkpoint: str,
    target: Path,
    output: str = "logits",
    size: Sequence[int] | None = None,
) -> tuple[list[tuple[int, ...]], float]:
    """Export a model, compare the file with PyTorch, and only then give it its name.

    Args:
        config (Config): Of the model.
        checkpoint (str): Its weights.
        target (Path): File to write, ``.onnx`` or ``.pt2``.
        output (str): ``'logits'`` or ``'labels'``. Default: 'logits'.
        size (Sequence[int], optional): The one height and width that the file takes.
            Default: every size that the model can.

    Returns:
        tuple[list[tuple[int, ...]], float]: Shapes of the images that were compared and the
        largest difference, see :func:`largest_difference`.

    Raises:
        ImportError: If a package that the format needs is missing.
        OSError: If a file cannot be read or written.
        ValueError: If the model cannot be exported as asked, or the file differs from PyTorch.
    """
    if target.suffix not in SUFFIXES:
        raise ValueError(f"{target} must end in {' or '.join(SUFFIXES)}")
    if not hasattr(torch.compiler, "is_exporting"):
        raise ImportError(f"exporting needs PyTorch 2.7 or later, got {torch.__version__}")
    for package in ("onnx", "onnxscript", "onnxruntime") if target.suffix == ".onnx" else ():
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f"{target.suffix} needs {package}: pip install 'mmseg-papers[export]'"
            )
    model = load_model(config, checkpoint, "cpu")
    meta = metadata(model, config)
    graph = ExportedModel(model, output)
    is_dynamic, size = export_size(model, config, size)
    shapes = shapes_to_check(size, len(meta["mean"]), is_dynamic)
    program = record(graph, len(meta["mean"]), size, is_dynamic)
    with torch.no_grad():
        low = model._forward(torch.zeros(shapes[0]))
    meta["stride"] = [round(n / m) for n, m in zip(size, low.shape[2:], strict=True)]
    meta["output"], meta["threshold"] = output, graph.threshold
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        file = Path(folder, target.name)
        write(program, meta, file)
        difference = largest_difference(graph, runner(file), shapes)
        if not difference <= TOLERANCE:
            raise ValueError(
                f"the file differs from PyTorch by {difference:.1e} at {shapes}, more than "
                f"{TOLERANCE}; it is not written"
            )
        os.replace(file, target)
    return shapes, difference


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 1 if nothing was written."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config", help="a config file, or a packaged config's name")
    parser.add_argument("checkpoint")
    parser.add_argument("target", type=Path, metavar="OUT.onnx|OUT.pt2")
    parser.add_argument("--output", choices=OUTPUTS, default="logits", help="default: logits")
    parser.add_argument(
        "--size", type=positive, nargs=2, metavar=("HEIGHT", "WIDTH"), help="take this size only"
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="as for training")
    args = parser.parse_args(arguments)
    try:
        config = resolved_config(args.config)
        config.merge_from_dict(args.cfg_options or {})
        shapes, difference = export(config, args.checkpoint, args.target, args.output, args.size)
    except (ImportError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    compared = ", ".join("x".join(map(str, shape)) for shape in shapes)
    what = "of the labels differ" if args.output == "labels" else "largest difference"
    print(f"compared with PyTorch at {compared}: {what} {difference:.1e}")
    print(f"wrote {args.target}, {args.target.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
