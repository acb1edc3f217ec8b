"""What the authors' code computes, and how our modules are compared with it.

``tests/data/reference/<paper>/<case>.{json,npz}`` hold a case; ``tests/reference/<paper>.py`` has
``build(case)``, which makes our module of a case. A new paper adds its cases and such a file.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
        return convert_state_dict(self.paper, fill.fill_state_dict(self.spec["keys"]), **options)

    def inputs(self) -> list[Tensor]:
        """The input maps, standard normal."""
        specs = self.spec["input"]
        specs = specs if isinstance(specs, list) else [specs]
        return [torch.from_numpy(fill.input_image(s["shape"], s["seed"])) for s in specs]

    def run(self) -> dict[str, Tensor]:
        """Our module's outputs, under the case's names."""
        module, call = importlib.import_module(f"{__name__}.{self.paper}").build(self)
        module.load_state_dict(self.weights(), strict=True)
        with torch.no_grad():
            return call(module.eval(), self.inputs())

    def assert_equal(self, outputs: dict[str, Tensor]) -> None:
        """Compare with what the authors' code computed, within the case's tolerance."""
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
            error = np.abs(got - expected)
            worst = (error / self.allowed_error(expected, mean_abs)).max()
            assert worst <= 1, f"{name}: {worst:.2e} times the error allowed"

    def allowed_error(self, expected: np.ndarray, mean_abs: float) -> np.ndarray:
        """``rtol`` times the mean size if the case has one, else as its notes advise."""
        if "rtol" in self.spec:
            return np.asarray(self.spec["rtol"] * mean_abs)
        advice = re.search(
            r"atol = ([\d.e-]+) \* max\|expected\|, rtol = ([\d.e-]+\d)", self.spec["notes"]
        )
        atol, rtol = map(float, advice.groups())
        return atol * np.abs(expected).max() + rtol * np.abs(expected)


Build = tuple[nn.Module, Callable[[nn.Module, list[Tensor]], dict[str, Tensor]]]
