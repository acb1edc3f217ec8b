"""Places in a model where a map is read or replaced, named in a config."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..option_errors import near_names

SYNTAX = re.compile(r"(?P<module>[^:\[\]]+)(?P<is_input>:in)?(\[(?P<element>-?\d+)\])?")


@dataclass(frozen=True)
class EndPoint:
    """The output of a module, ``'backbone.layer4'``, or its first input, ``'decode_head.fuse:in'``.

    ``[i]`` picks an element of an output or input that is a tuple or list, ``'backbone[2]'``.
    Without it, such a value is taken as one map whose channels lie in several parts.

    Args:
        name (str): As in the config.
        module (str): Path of the module.
        is_input (bool): Whether its first input is meant.
        element (int, optional): Which element of the value.
    """

    name: str
    module: str
    is_input: bool
    element: int | None

    @classmethod
    def parse(cls, name: str, model: nn.Module, option: str) -> EndPoint:
        """Read a name and check that the model has the module.

        Args:
            name (str): As in the config.
            model (nn.Module): Whose modules are meant.
            option (str): The option that holds the name, for messages.

        Returns:
            EndPoint: The place.

        Raises:
            ValueError: If it is no such name, or no module is called so; lists near names.
        """
        match = SYNTAX.fullmatch(name)
        if match is None:
            raise ValueError(
                f"{option} must be like 'backbone.layer4', 'decode_head.fuse:in' or "
                f"'backbone[2]', got {name!r}"
            )
        module, element = match["module"], match["element"]
        modules = [path for path, _ in model.named_modules() if path]
        if module not in modules:
            raise ValueError(
                f"{option}: the model has no module {module!r}"
                f"{near_names(module, modules, cutoff=0.5)}"
            )
        return cls(name, module, bool(match["is_input"]), None if element is None else int(element))

    def register(self, model: nn.Module, function: Callable) -> RemovableHandle:
        """Call ``function(value)`` wherever the value appears; what it returns, if anything,
        takes its place.

        ``function`` must be a bound method or a ``functools.partial`` of one: only these follow
        the model into its deep copies and pickles.

        Args:
            model (nn.Module): Whose module is watched.
            function (Callable): Called with the module's output or first input.

        Returns:
            RemovableHandle: Of the hook.
        """
        module = model.get_submodule(self.module)
        if self.is_input:
            return module.register_forward_pre_hook(_PreHook(function))
        return module.register_forward_hook(_Hook(function))

    def parts(self, value: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """The map, in its parts.

        Args:
            value (Tensor | Sequence[Tensor]): The output or first input of the module.

        Returns:
            list[Tensor]: Maps (N, C_i, H, W) that together are (N, sum C_i, H, W).

        Raises:
            ValueError: If the value has no such element or is no map.
        """
        if self.element is not None:
            is_sequence = isinstance(value, (tuple, list))
            if not is_sequence or not -len(value) <= self.element < len(value):
                raise ValueError(
                    f"{self.name}: {self.module} gives "
                    f"{f'{len(value)} maps' if is_sequence else 'a single map'}"
                )
            value = value[self.element]
        parts = list(value) if isinstance(value, (tuple, list)) else [value]
        if not all(isinstance(part, Tensor) and part.dim() == 4 for part in parts):
            kinds = [tuple(p.shape) if isinstance(p, Tensor) else type(p).__name__ for p in parts]
            raise ValueError(f"{self.name} is no map (N, C, H, W), but {kinds}")
        return parts

    def replace(
        self, value: Tensor | Sequence[Tensor], parts: list[Tensor]
    ) -> Tensor | Sequence[Tensor]:
        """The module's output or first input with other parts.

        Args:
            value (Tensor | Sequence[Tensor]): The output or first input of the module.
            parts (list[Tensor]): In place of those that :meth:`parts` gives.

        Returns:
            Tensor | Sequence[Tensor]: Of the type of ``value``.
        """
        if self.element is None:
            return type(value)(parts) if isinstance(value, (tuple, list)) else parts[0]
        elements = list(value)
        inner = elements[self.element]
        elements[self.element] = (
            type(inner)(parts) if isinstance(inner, (tuple, list)) else parts[0]
        )
        return type(value)(elements)


@dataclass
class _Hook:
    """A forward hook that sees the output."""

    function: Callable

    def __call__(self, module, args, output):
        return self.function(output)


@dataclass
class _PreHook:
    """A forward pre-hook that sees the first input."""

    function: Callable

    def __call__(self, module, args):
        replaced = self.function(args[0])
        return None if replaced is None else (replaced, *args[1:])
