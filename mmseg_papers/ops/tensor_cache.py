"""Tensors that are made once for each set of arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps

from torch import Tensor


def cache_tensors(make: Callable) -> Callable:
    """Decorate a function of hashable arguments that makes tensors: ``lru_cache`` for real ones.

    A fake tensor holds no values and belongs to its mode, so none is kept and none meets real ones.

    Args:
        make (Callable): Whose results nobody changes in place.

    Returns:
        Callable: Takes one more argument, the first: a tensor that was just made as those of the
        results would be, whose type tells whether they are real.
    """
    cached = lru_cache(maxsize=256)(make)

    @wraps(make)
    def get(like: Tensor, *args):
        return cached(*args) if type(like) is Tensor else make(*args)

    return get
