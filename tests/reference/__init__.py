"""What the authors' code computes, and how our modules are compared with it.

``tests/data/reference/<paper>/<case>.{json,npz}`` hold a case; ``tests/reference/<paper>.py`` has
``build(case)``, which makes our module of a case, and, where cases need it, ``prepare(case,
weights)``, which changes the filled weights as the case's notes say. A new paper adds its cases and
such a file.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from mmseg_papers.checkpoints import convert_state_dict

from ..data.reference import fill

FOLDER = Path(__file__).parents[1] / "data" / "reference"


@dataclass
class Case:
    """One fixture."""

    paper: str
    name: str
    spec: dict
    arrays: dict[str, np.ndarray]

    @classmethod
    def load(cls, paper: str, name: str) -> Case:
        spec = json.loads((FOLDER / paper / f"{name}.json").read_text())
        with np.load(FOLDER / paper / f"{name}.npz") as arrays:
            return cls(paper, name, spec, dict(arrays))

    @staticmethod
    def names() -> list[tuple[str, str]]:
        """(paper, case) of every fixture, losses included."""
        return sorted((path.parent.name, path.stem) for path in FOLDER.glob("*/*.json"))

    def weights(self, **options) -> dict[str, Tensor]:
        """The case's weights, filled under the authors' names and converted to ours."""
        filled = fill.fill_state_dict(self.spec["keys"])
        if prepare := getattr(self._builder(), "prepare", None):
            filled = prepare(self, filled)
        return convert_state_dict(self.paper, filled, **options)

    def _builder(self) -> ModuleType:
        return importlib.import_module(f"{__name__}.{self.paper}")

    def inputs(self) -> list[Tensor]:
        """The input maps, standard normal."""
        specs = self.spec["input"]
        if isinstance(specs, dict):  # one map, or several by name
            specs = [specs] if "shape" in specs else [v for v in specs.values() if is_map(v)]
        return [torch.from_numpy(fill.input_image(s["shape"], s["seed"])) for s in specs]

    def run(self) -> dict[str, Tensor]:
        """Our module's outputs, under the case's names."""
        module, call = self._builder().build(self)
        module.load_state_dict(self.weights(), strict=True)
        with torch.no_grad():
            return call(module.eval(), self.inputs())

    def assert_equal(self, outputs: dict[str, Tensor]) -> None:
        """Compare with what the authors' code computed, within :meth:`allowed_error`."""
        assert sorted(outputs) == sorted(self.spec["outputs"])
        for name, described in self.spec["outputs"].items():
            got = outputs[name].detach().numpy()
            assert list(got.shape) == described["shape"], name
            if name in self.arrays:
                expected = self.arrays[name]
                mean_abs = np.abs(expected).mean()
            else:  # large arrays are sampled
                expected = self.arrays[f"{name}__value"]
                mean_abs = self.arrays[f"{name}__mean_abs"]
                got = got.reshape(-1)[self.arrays[f"{name}__index"]]
            error = np.abs(got - expected).max()
            allowed = self.allowed_error(np.abs(expected).max(), mean_abs)
            assert error <= allowed, f"{name}: error {error:.2e}, allowed {allowed:.2e}"

    def allowed_error(self, largest: float, mean_abs: float) -> float:
        """``rtol`` times the mean magnitude, or what the case's notes say in words."""
        if "rtol" in self.spec:
            return self.spec["rtol"] * mean_abs
        notes = self.spec["notes"]
        if "compare exactly" in notes:
            return 0
        kind, value = re.findall(r"\b(rtol|atol) (\d\S*\d)", notes)[-1]
        return float(value) * (largest if kind == "rtol" else 1)


def is_map(spec) -> bool:
    """Whether part of a case's input describes one input map."""
    return isinstance(spec, dict) and "seed" in spec


Build = tuple[nn.Module, Callable[[nn.Module, list[Tensor]], dict[str, Tensor]]]
