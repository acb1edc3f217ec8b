"""PixelData that is computed when it is read."""

from __future__ import annotations

from collections.abc import Callable

from mmengine.structures import PixelData
from torch import Tensor


class LazyPixelData(PixelData):
    """PixelData whose ``data`` is computed at its first read, and kept from then on.

    Reading means: ``.data``, ``.get('data')``, ``.values()``, ``.items()``, slicing, printing,
    copying, pickling and every conversion (``.cpu()``, ``.numpy()``, ...). The keys, the shape and
    ``to_dict()`` are known without; the dict computes when its value is read. Copies and pickles
    hold plain ``PixelData``, so that a file with them opens without this package.

    Create it by :meth:`of`; an instance made as mmengine makes them holds what it is given.
    """

    @classmethod
    def of(cls, compute: Callable[[], Tensor], shape: tuple[int, int]) -> LazyPixelData:
        """Hold what makes the data until they are read.

        Args:
            compute (Callable[[], Tensor]): Gives the data, (C, H, W).
            shape (tuple[int, int]): H and W.

        Returns:
            LazyPixelData: With unread ``data``.
        """
        element = cls()
        object.__setattr__(element, "_unread", (compute, tuple(shape)))
        element._data_fields.add("data")
        return element

    def __getattr__(self, name: str) -> Tensor:
        # Called only for what is not in __dict__: the data until their first read.
        if name != "data" or self.__dict__.get("_unread") is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        compute, _ = self._unread
        self.data = compute()
        object.__setattr__(self, "_unread", None)
        return self.data

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width."""
        unread = self.__dict__.get("_unread")
        return super().shape if unread is None else unread[1]

    def __delattr__(self, name: str) -> None:
        if name == "data":
            _ = self.data  # only what is there can be deleted
        super().__delattr__(name)

    def pop(self, *args):
        """Like mmengine's."""
        if args[:1] == ("data",):
            _ = self.data  # read it first
        return super().pop(*args)

    def to_dict(self) -> dict:
        """Like mmengine's, which the runner's evaluator calls for every sample it is given."""
        return super().to_dict() if self.__dict__.get("_unread") is None else _DictOnRead(self)

    def __reduce__(self) -> tuple:
        state = {key: getattr(self, key) for key in self.all_keys()}
        state |= {key: set(getattr(self, key)) for key in ("_data_fields", "_metainfo_fields")}
        return PixelData, (), state


class _DictOnRead(dict):
    """``to_dict()`` of unread data: a dict that takes them when one of its values is read."""

    def __init__(self, element: LazyPixelData) -> None:
        super().__init__(element.metainfo, data=None)
        self._element: LazyPixelData | None = element

    def _read(self) -> None:
        if self._element is not None:
            element, self._element = self._element, None
            self.update(element.all_items())

    def __iter__(self):
        # Having an __iter__ of its own makes dict(x) and {**x} read the values below.
        return super().__iter__()

    def __reduce__(self) -> tuple:
        return dict, (dict(self),)


def _reading(name: str) -> Callable:
    def method(self, *args):
        self._read()
        return getattr(dict, name)(self, *args)

    method.__name__ = name
    return method


for _name in (
    *("__getitem__", "get", "items", "values", "pop", "popitem", "setdefault", "copy"),
    *("__eq__", "__ne__", "__or__", "__ror__", "__repr__", "__setitem__", "__delitem__"),
):
    setattr(_DictOnRead, _name, _reading(_name))
