"""An accelerator that computes on the CPU, for machines without one.

Its tensors are held apart from the CPU's as a GPU's are: an operation that gets both fails, and so
does one that reads their memory. The import registers it for good, before autograd counts the
devices, so it is for processes of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "fake_accelerator"
aten = torch.ops.aten
INDEXING = {aten.index, aten.index_put, aten.index_put_}
#: Operations that take tensors of the CPU beside those of an accelerator.
MIXING = {aten.copy_, aten._to_copy, *INDEXING}
#: Operations after which the host has to know a value or how many there are.
WAITING = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2}
MAKERS = {torch.tensor, torch.as_tensor, torch.asarray}
ITEMS = {Tensor.__getitem__, Tensor.__setitem__}

_setup_privateuseone_for_python_backend(NAME)
# A module's tensors move by taking the place of the old ones.
torch.__future__.set_overwrite_module_params_on_conversion(True)


class AcceleratorTensor(Tensor):
    """A tensor of the CPU that says it is on the accelerator; ``is_cuda`` takes CUDA's branches."""

    is_cuda = True
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> AcceleratorTensor:
        """Wrap a tensor."""
        wrapper = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        wrapper.held = held
        return wrapper

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None) -> Any:
        """Compute outside of :class:`Dispatch`, as in a backward pass."""
        return compute(function, args, kwargs or {})


def compute(function, args: tuple, kwargs: dict) -> Any:
    """Run an operation on what the accelerator's tensors hold."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    mine = {id(x.held): x for x in tensors if isinstance(x, AcceleratorTensor)}
    packet = function.overloadpacket
    if mine and packet not in MIXING:
        # As on CUDA, a CPU tensor without dimensions is a number.
        foreign = [x for x in tensors if not isinstance(x, AcceleratorTensor) and x.dim() > 0]
        assert not foreign, f"{function} mixes devices: {[tuple(x.shape) for x in foreign]}"
    stays = isinstance(args[0], AcceleratorTensor) if packet is aten.copy_ else bool(mine)
    if kwargs.get("device") is not None:
        stays = torch.device(kwargs["device"]).type == NAME
        kwargs = {**kwargs, "device": torch.device("cpu") if stays else kwargs["device"]}
    masks = packet in INDEXING and any(x.dtype in (torch.bool, torch.uint8) for x in tensors[1:])
    Dispatch.waits += bool(mine) and (packet in WAITING or not stays or masks)
    held_args, held_kwargs = tree_map(
        lambda x: x.held if isinstance(x, AcceleratorTensor) else x, (args, kwargs)
    )
    out = function(*held_args, **held_kwargs)
    if not stays:
        return out

    def wrap(x: Any) -> Any:
        if id(x) in mine:  # what an in-place operation was given
            return mine[id(x)]
        return AcceleratorTensor(x) if isinstance(x, Tensor) else x

    return tree_map(wrap, out)


class Dispatch(TorchDispatchMode):
    """Sends every operation through :func:`compute`."""

    #: How often the process has waited for a number from the accelerator.
    waits = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None) -> Any:
        """Compute."""
        return compute(function, args, kwargs or {})


class Literals(TorchFunctionMode):
    """Makes tensors of Python numbers and lists on the CPU first: that is never dispatched."""

    def __torch_function__(self, function, types, args=(), kwargs=None) -> Any:
        """Replace what needs it."""
        kwargs = dict(kwargs or {})
        if function in MAKERS and torch.device(kwargs.get("device") or "cpu").type == NAME:
            device = kwargs.pop("device")
            return function(*args, **kwargs).to(device)
        if function is Tensor.new_tensor and isinstance(args[0], AcceleratorTensor):
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs}).to(args[0].device)
        if function in ITEMS and isinstance(args[0], AcceleratorTensor):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            lists = (list, np.ndarray)
            index = tuple(torch.as_tensor(i) if isinstance(i, lists) else i for i in index)
            args = (args[0], index, *args[2:])
        return function(*args, **kwargs)


@contextmanager
def fake_accelerator() -> Iterator[torch.device]:
    """Let this process compute on the accelerator."""
    with Literals(), Dispatch():
        yield torch.device(NAME, 0)
