"""Errors in a model's options, named by their place in the config."""

from __future__ import annotations

import difflib
import inspect
import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.registry import Registry
from mmseg import registry as mmseg_registries

from .layers.configurable import require_layer

PACKAGE = __name__.partition(".")[0]
#: ``mmseg``'s registries and MMEngine's above them.
REGISTRIES = [r for r in vars(mmseg_registries).values() if isinstance(r, Registry)]


@contextmanager
def naming_options(config: dict, place: str) -> Iterator[None]:
    """Give errors of building from a config the option's place, and the nearest names that exist.

    MMEngine names a type or an option without saying where in the config it stands, and ``mmseg``'s
    backbones assert without a word.

    Args:
        config (dict): What is built inside.
        place (str): Its place in the whole config, such as ``'model'``; may be empty.

    Raises:
        ValueError: In place of a ``KeyError`` (an unknown type), a ``TypeError`` (an unknown
            option) and an ``AssertionError``.
        ImportError: If a type needs mmcv's compiled operations and this mmcv has none.
    """
    try:
        yield
    except (KeyError, TypeError, AssertionError) as error:
        what = place or "the config"
        message = (
            _unknown_option(error, config, place)
            or _fixed_option(error, config, place)
            or _unknown_type(config, place)
        )
        if message is None and isinstance(error, AssertionError):
            frame = traceback.extract_tb(error.__traceback__)[-1]
            demand = str(error) or f"{frame.line} in {frame.filename}, line {frame.lineno}"
            message = f"{what} is refused: {demand}"
        if message is None:
            # str() of a KeyError puts quotes around its text.
            text = error.args[0] if isinstance(error, KeyError) and error.args else error
            message = f"{what} cannot be built: {text}"
        raise ValueError(message) from error


def near_names(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Known names like one that is unknown, as the end of an error message.

    Args:
        name (str): The unknown one.
        known (Iterable[str]): All others.
        cutoff (float): Least likeness, as in ``difflib``. Default: 0.6.

    Returns:
        str: ``'. Did you mean a, b?'``, or nothing.
    """
    known = sorted(known)
    near = [other for other in known if name and name.lower() in other.lower()][:3]
    near = near or difflib.get_close_matches(name, known, n=3, cutoff=cutoff)
    return f". Did you mean {', '.join(near)}?" if near else ""


def typed_parts(part: Any, place: str = "") -> Iterator[tuple[str, dict]]:
    """The parts of a config that have a type, outer ones first.

    Args:
        part (Any): A config or a part of one.
        place (str): Its place in the whole config. Default: none.

    Yields:
        tuple[str, dict]: The place of a part, such as ``'model.backbone'``, and the part.
    """
    if isinstance(part, dict):
        if isinstance(part.get("type"), (str, type)):
            yield place, part
        for key, value in part.items():
            yield from typed_parts(value, f"{place}.{key}" if place else str(key))
    elif isinstance(part, (list, tuple)):
        for i, value in enumerate(part):
            yield from typed_parts(value, f"{place}[{i}]")


def _unknown_type(config: dict, place: str) -> str | None:
    for where, part in typed_parts(config, place):
        name = part["type"]
        if _class_of(name) is None:
            require_layer(part)
            known = {known for registry in REGISTRIES for known in _names(registry)}
            return f"{where}.type={name!r} is not registered{near_names(name, known)}"
    return None


def _class_of(kind: str | type) -> Any:
    """What a type in a config names, which may be the class itself; None if nothing."""
    if isinstance(kind, type):
        return kind
    return next((registry.get(kind) for registry in REGISTRIES if _has(registry, kind)), None)


def _has(registry: Registry, name: str) -> bool:
    try:
        return registry.get(name) is not None
    except (ImportError, KeyError):  # of a scope that is not installed
        return False


def _names(registry: Registry | None) -> Iterator[str]:
    while registry is not None:
        yield from registry.module_dict
        registry = registry.parent


def _fixed_option(error: Exception, config: dict, place: str) -> str | None:
    """Name an option that a class sets by itself and hands to a base class."""
    found = re.search(r"multiple values for keyword argument '(\w+)'", str(error))
    if found is None:
        return None
    option = found[1]
    ours = [
        f"{where}.{option}: {cls.__name__} sets {option!r} by itself; remove it"
        for where, part in typed_parts(config, place)
        if option in part
        and (cls := _class_of(part["type"])) is not None
        and cls.__module__.startswith(f"{PACKAGE}.")
    ]
    return ours[0] if len(ours) == 1 else None


def _unknown_option(error: Exception, config: dict, place: str) -> str | None:
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if found is None:
        return None
    option = found[1]
    if option == "pretrained" and config.get(option) and "backbone" in config:
        return (  # mmseg's segmentors hand it to the backbone
            f"{place}.pretrained: {config['backbone']['type']} takes none; set "
            f"{place}.pretrained=None, since its weights are another backbone's, and give "
            f"{place}.backbone.init_cfg"
        )
    for where, part in typed_parts({**config, "type": config.get("type", place)}, place):
        if option not in part:
            continue
        cls = _class_of(part["type"])
        known = {
            name
            for base in getattr(cls, "__mro__", ())
            if "__init__" in vars(base)
            for name in inspect.signature(base.__init__).parameters
        } - {"self", "args", "kwargs"}
        if option not in known:
            owner = getattr(cls, "__name__", place)
            return f"{where}.{option}: {owner} has no option {option!r}{near_names(option, known)}"
    return None
