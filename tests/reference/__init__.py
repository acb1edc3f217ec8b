"""What the authors' code computes, and how our modules are compared with it.

``tests/data/reference/<paper>/<case>.{json,npz}`` hold a case; ``tests/reference/<paper>.py`` has
``build(case)``, which makes our module of a case. A new paper adds its cases and such a file. Where
its cases need them, the file also has ``prepare(case, weights)``, which changes the filled weights
as the notes say, and ``allowed_error(case, output, expected)``, where a case states its tolerance
in the notes only.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
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
        weights = fill.fill_state_dict(self.spec["keys"])
        if prepare := getattr(self._paper_module, "prepare", None):
            weights = prepare(self, weights)
        return convert_state_dict(self.paper, weights, **options)

    @property
    def _paper_module(self) -> ModuleType:
        return importlib.import_module(f"{__name__}.{self.paper}")

    @property
    def is_training(self) -> bool:
        """Whether the case is one training step: batch statistics, gradients, new buffers."""
        return "TRAINING" in self.spec["notes"]

    @property
    def dtype(self) -> torch.dtype:
        """In which the notes ask to run the case."""
        return torch.float64 if "FLOAT64" in self.spec["notes"] else torch.float32

    def inputs(self) -> list[Tensor]:
        """The input maps, standard normal times their scale, in the order of the case."""
        return [
            torch.from_numpy(
                fill.input_image(s["shape"], s["seed"]) * np.float32(s.get("scale", 1))
            ).to(self.dtype)
            for s in _maps(self.spec["input"])
        ]

    def run(self) -> dict[str, Tensor]:
        """Our module's outputs, under the case's names."""
        module, call = self._paper_module.build(self)
        module.load_state_dict(self.weights(), strict=True)
        module.to(self.dtype).train(self.is_training)
        with torch.set_grad_enabled(self.is_training):
            return call(module, self.inputs())

    def trained(self, module: nn.Module) -> dict[str, Tensor]:
        """What the case lists of a module after a training step: ``grad:`` and ``after:`` keys.

        A key is the authors'; the weight under it must be ours renamed, not rewritten.
        """
        theirs = {k: torch.as_tensor(v) for k, v in fill.fill_state_dict(self.spec["keys"]).items()}
        ours = {id(v): k for k, v in convert_state_dict(self.paper, theirs).items()}
        parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
        found = {}
        for output in self.spec["outputs"]:
            kind, _, key = output.partition(":")
            if kind == "grad":
                found[output] = parameters[ours[id(theirs[key])]].grad
            elif kind == "after":
                found[output] = buffers[ours[id(theirs[key])]]
        return found

    def assert_equal(self, outputs: dict[str, Tensor]) -> None:
        """Compare with what the authors' code computed, within the case's tolerance.

        That is ``rtol`` times the mean magnitude, or what the paper's ``allowed_error`` says.
        """
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
            if "rtol" in self.spec:
                allowed = self.spec["rtol"] * mean_abs
            else:
                allowed = self._paper_module.allowed_error(self, name, expected)
            error = np.abs(got - expected)
            assert (error <= allowed).all(), f"{name}: error {error.max():.2e}, allowed {allowed}"


def _maps(spec: dict | list | None) -> Iterator[dict]:
    """The descriptions of input maps in a case's input, which may name or nest them."""
    if isinstance(spec, list):
        for member in spec:
            yield from _maps(member)
    elif isinstance(spec, dict):
        if {"shape", "seed"} <= spec.keys():
            yield spec
        for name, member in spec.items():
            if not name.startswith("label"):
                yield from _maps(member)


Build = tuple[nn.Module, Callable[[nn.Module, list[Tensor]], dict[str, Tensor]]]
