"""Label maps from an ONNX file of tools/export.py, without PyTorch.

    python onnx_labels.py model.onnx OUT_DIR street.png other.jpg bands.npy ...

Steps are those of ``mim test``: what they need is in the file's metadata. Needs onnxruntime, NumPy
and, to read, resize and write pictures, OpenCV; arrays (H, W, C) are read from ``.npy``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

FLAGS = {
    "color": cv2.IMREAD_COLOR,
    "grayscale": cv2.IMREAD_GRAYSCALE,
    "unchanged": cv2.IMREAD_UNCHANGED,
}


class OnnxModel:
    """A file of tools/export.py.

    Args:
        file (Path): The ONNX file, of class scores: a file of labels cannot be resized or averaged.

    Raises:
        ValueError: If the file gives labels, or is none of tools/export.py.
    """

    def __init__(self, file: Path) -> None:
        try:
            self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's have no base class but this
            raise ValueError(f"{file} is no ONNX file: {error}") from error
        texts = self.session.get_modelmeta().custom_metadata_map
        self.meta = {key: json.loads(text) for key, text in texts.items()}
        if self.meta.get("output") != "logits":
            raise ValueError(f"{file} must be a file of tools/export.py --output logits")
        self.input = self.session.get_inputs()[0].name

    def labels(self, image: np.ndarray) -> np.ndarray:
        """Class of every pixel.

        Args:
            image (np.ndarray): (H, W, C) as OpenCV reads it, so BGR for C = 3; or (H, W).

        Returns:
            np.ndarray: (H, W), uint8, or uint16 for more than 256 classes.
        """
        x = self._resize_image(image)
        if self.meta["channel_order"] == "RGB":
            x = x[..., ::-1]
        mean, std = (np.array(self.meta[key], dtype=np.float32) for key in ("mean", "std"))
        x = ((x - mean) / std).transpose(2, 0, 1)
        top, left, height, width = 0, 0, *x.shape[1:]
        if self.meta["pad"]:
            x = self._pad(x)
        if self.meta["pad_to_window"]:
            missing = self._missing(x, self.meta["window"]["crop_size"])
            top, left = (length // 2 for length in missing)
            ends = [(n // 2, n - n // 2) for n in missing]
            x = np.pad(x, ((0, 0), *ends))
        scores = self._slide(x) if self.meta["window"] else self._run(x)
        scores = scores[:, top : top + height, left : left + width]
        scores = resize(scores, image.shape[:2], self.meta["align_corners"])
        if self.meta["threshold"] is not None:
            return (1 / (1 + np.exp(-scores[0])) > self.meta["threshold"]).astype(np.uint8)
        return scores.argmax(axis=0).astype(np.min_scalar_type(len(scores) - 1))

    def _resize_image(self, image: np.ndarray) -> np.ndarray:
        image = image.reshape(*image.shape[:2], -1)
        step = self.meta["resize"]
        if step is None:
            return image.astype(np.float32)
        height, width = image.shape[:2]
        size = tuple(step["scale"])
        if step["keep_ratio"]:
            factor = min(
                max(size) / max(height, width), min(size) / min(height, width)
            )  # the longer side to at most the longer length, the shorter to the shorter
            size = tuple(int(length * factor + 0.5) for length in (width, height))
        resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        return resized.reshape(*resized.shape[:2], -1).astype(np.float32)

    def _pad(self, x: np.ndarray) -> np.ndarray:
        """Fill up at the right and at the bottom."""
        pad = self.meta["pad"]
        if pad.get("size"):
            missing = self._missing(x, pad["size"])
        else:
            missing = [-length % pad["size_divisor"] for length in x.shape[1:]]
        return np.pad(x, ((0, 0), *((0, n) for n in missing)), constant_values=pad["value"])

    @staticmethod
    def _missing(x: np.ndarray, size: list[int]) -> list[int]:
        return [max(n - length, 0) for n, length in zip(size, x.shape[1:], strict=True)]

    def _run(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.input: np.ascontiguousarray(x[None])})[0][0]

    def _slide(self, x: np.ndarray) -> np.ndarray:
        """Mean of the scores of all windows; the last ones end with the image."""
        crop, stride = self.meta["window"]["crop_size"], self.meta["window"]["stride"]
        rows, columns = (
            [
                slice(max(min(i * s + c, n) - c, 0), min(i * s + c, n))
                for i in range(max(n - c + s - 1, 0) // s + 1)
            ]
            for n, c, s in zip(x.shape[1:], crop, stride, strict=True)
        )
        total, count = 0, np.zeros(x.shape[1:], dtype=np.float32)
        for row in rows:
            for column in columns:
                scores = self._run(x[:, row, column])
                if count.max() == 0:
                    total = np.zeros((len(scores), *x.shape[1:]), dtype=np.float32)
                total[:, row, column] += scores
                count[row, column] += 1
        return total / count


def resize(maps: np.ndarray, size: tuple[int, int], align_corners: bool) -> np.ndarray:
    """Bilinear resizing of maps as PyTorch's.

    Args:
        maps (np.ndarray): (K, h, w), float32.
        size (tuple[int, int]): Height and width of the result.
        align_corners (bool): Whether the corner pixels keep their places.

    Returns:
        np.ndarray: (K, *size), float32.
    """
    for axis, target in zip((1, 2), size, strict=True):
        length = maps.shape[axis]
        if length == target:
            continue
        place = np.arange(target, dtype=np.float32)
        if align_corners:
            place = place * np.float32((length - 1) / max(target - 1, 1))
        else:
            place = np.maximum((place + 0.5) * np.float32(length / target) - 0.5, 0)
        low = np.minimum(place.astype(int), length - 1)
        weight = (place - low).astype(np.float32)
        weight = weight[:, None] if axis == 1 else weight
        high = np.minimum(low + 1, length - 1)
        maps = maps.take(low, axis) * (1 - weight) + maps.take(high, axis) * weight
    return maps


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path, help="folder for NAME.png of class indices")
    parser.add_argument("images", type=Path, nargs="+")
    args = parser.parse_args(arguments)
    names: dict[str, Path] = {}
    for file in args.images:
        if names.setdefault(file.stem, file) != file:
            parser.error(f"{names[file.stem]} and {file} would both be written as {file.stem}.png")
    try:
        model = OnnxModel(args.model)
    except ValueError as error:
        parser.error(str(error))
    args.out.mkdir(parents=True, exist_ok=True)
    for file in args.images:
        if file.suffix == ".npy":
            image = np.load(file)
        else:
            image = cv2.imread(str(file), FLAGS[model.meta["color_type"]])
        if image is None:
            parser.error(f"{file} cannot be read as an image")
        target = args.out / f"{file.stem}.png"
        cv2.imwrite(str(target), model.labels(image))
        print(f"wrote {target}")


if __name__ == "__main__":
    main()
