"""Classes of ours under the names of OpenMMLab's, so that configs have them without a change."""

from __future__ import annotations

from collections.abc import Callable

from mmengine.registry import Registry


def replaces(original: type, registry: Registry) -> Callable[[type], type]:
    """Decorator that registers a class under the name of another.

    A class that a project has registered under this name before keeps it.

    Args:
        original (type): Of ``mmseg`` or ``mmcv``.
        registry (Registry): Of ``mmseg``, whose configs name it.

    Returns:
        Callable[[type], type]: Returns the class that it is given.
    """

    def register(cls: type) -> type:
        name = original.__name__
        if registry.get(name) is original:
            registry.register_module(name=name, module=cls, force=True)
        return cls

    return register
