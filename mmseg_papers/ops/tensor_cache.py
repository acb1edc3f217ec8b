"""Tensors that are made once for each set of arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps

import torch
from torch import Tensor


def cache_tensors(make: Callable) -> Callable:
    """Decorate a function of hashable arguments that makes tensors: ``lru_cache`` for real ones.

    A fake tensor holds no values and belongs to its mode, so none is kept and none meets real ones.
    Each CUDA stream has its own, as another may read before the values are there; a CUDA graph
    makes them within, as it outlives what is kept here.

    Args:
        make (Callable): Whose results nobody changes in place.

    Returns:
        Callable: Takes one more argument, the first: a tensor that was just made as those of the
        results would be, whose type tells whether they are real.
    """

    @lru_cache(maxsize=256)
    def cached(stream: int | None, *args):
        return make(*args)

    @wraps(make)
    def get(like: Tensor, *args):
        if type(like) is not Tensor:
            return make(*args)
        if not like.is_cuda:
            return cached(None, *args)
        if torch.cuda.is_current_stream_capturing():
            return make(*args)
        return cached(torch.cuda.current_stream(like.device).cuda_stream, *args)

    return get
