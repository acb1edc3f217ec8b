"""Reader of TensorFlow's V2 checkpoints without TensorFlow.

A checkpoint PREFIX is an index, PREFIX.index, and shards, PREFIX.data-00000-of-00001 and so on. The
index is a table of sorted keys in LevelDB's format; its values are messages of protocol buffers
that say where in which shard a tensor lies (tensorflow/core/protobuf/tensor_bundle.proto). Only
what a Saver writes is read; anything else is refused, as is a byte that is missing or changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from pathlib import Path

import numpy as np

MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES = 48
TRAILER_BYTES = 5  # compression and checksum, after every block
#: TensorFlow's DataType -> NumPy's, little endian
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 6: "i1", 9: "<i8", 10: "?", 19: "<f2"}


def read_tensorflow_checkpoint(prefix: str | Path) -> dict[str, np.ndarray]:
    """Read every variable of a TensorFlow checkpoint.

    Args:
        prefix (str | Path): Path without ``.index``, as TensorFlow names checkpoints, such as
            ``deeplabv3_pascal_trainval/model.ckpt``; the ``.index`` file itself will do.

    Returns:
        dict[str, np.ndarray]: Name -> values, in TensorFlow's layout.

    Raises:
        FileNotFoundError: If the index or a shard is missing; names it.
        OSError: If a file is none of a checkpoint, cut off, changed, or holds what this reader
            does not know; names it and says what was found.
    """
    prefix = str(prefix).removesuffix(".index")
    index = Path(f"{prefix}.index")
    try:
        entries = dict(_entries(index.read_bytes()))
        header = _message(entries.pop(b""))
        shards = _first(header, 1, 0)
        if _first(header, 2, 0) != 0:
            raise ValueError("big endian")
        names = [f"{prefix}.data-{i:05d}-of-{shards:05d}" for i in range(shards)]
        tensors = {key.decode(): _message(entry) for key, entry in entries.items()}
        places = {key: _place(key, tensor, shards) for key, tensor in tensors.items()}
    except (ValueError, KeyError, IndexError) as error:
        raise OSError(f"{index} is no index of a TensorFlow checkpoint: {error}") from error
    contents = [Path(name).read_bytes() for name in names]
    return {
        key: _tensor(key, contents[place[0]], names[place[0]], *place[1:])
        for key, place in places.items()
    }


def _place(
    key: str, entry: dict[int, list], shards: int
) -> tuple[int, int, int, int, str, list[int]]:
    """Shard, offset, size, checksum, NumPy type and shape of a tensor."""
    dtype = _first(entry, 1, 0)
    if dtype not in DTYPES:
        raise ValueError(f"{key} is of type {dtype}, not one of {sorted(DTYPES)}")
    if 7 in entry:
        raise ValueError(f"{key} is stored in slices")
    shard = _first(entry, 3, 0)
    if shard >= shards:
        raise ValueError(f"{key} is in shard {shard} of {shards}")
    dims = _message(_first(entry, 2, b"")).get(2, [])
    shape = [_first(_message(dim), 1, 0) for dim in dims]
    size = _first(entry, 5, 0)
    expected = int(np.prod(shape, dtype=np.int64)) * np.dtype(DTYPES[dtype]).itemsize
    if size != expected:
        raise ValueError(f"{key} of shape {shape} has {size} bytes instead of {expected}")
    return shard, _first(entry, 4, 0), size, _first(entry, 6, 0), DTYPES[dtype], shape


def _tensor(
    key: str,
    content: bytes,
    name: str,
    offset: int,
    size: int,
    checksum: int,
    dtype: str,
    shape: list[int],
) -> np.ndarray:
    data = content[offset : offset + size]
    if len(data) != size:
        raise OSError(
            f"{name} is cut off: {key} ends at byte {offset + size}, the file at {len(content)}"
        )
    if masked_crc32c(data) != checksum:
        raise OSError(f"{name} is damaged: the checksum of {key} is not the index's")
    return np.frombuffer(data, dtype).reshape(shape).copy()


# The index


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table."""
    if len(table) < FOOTER_BYTES or int.from_bytes(table[-8:], "little") != MAGIC:
        raise ValueError("the magic number at its end is missing")
    position = len(table) - FOOTER_BYTES
    _, position = _varint(table, position)  # the block of metadata, which is empty
    _, position = _varint(table, position)
    offset, position = _varint(table, position)
    size, _ = _varint(table, position)
    for _, handle in _block(table, offset, size):
        offset, position = _varint(handle, 0)
        size, _ = _varint(handle, position)
        yield from _block(table, offset, size)


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    end = offset + size
    if end + TRAILER_BYTES > len(table):
        raise ValueError(f"a block ends at byte {end}, the file at {len(table)}")
    if table[end] != 0:
        raise ValueError(f"a block is compressed (type {table[end]})")
    stored = int.from_bytes(table[end + 1 : end + TRAILER_BYTES], "little")
    if masked_crc32c(table[offset : end + 1]) != stored:
        raise ValueError("the checksum of a block is wrong")
    restarts = int.from_bytes(table[end - 4 : end], "little")
    position, key, last = offset, b"", end - 4 - 4 * restarts
    while position < last:
        shared, position = _varint(table, position)
        rest, position = _varint(table, position)
        length, position = _varint(table, position)
        key = key[:shared] + table[position : position + rest]
        position += rest
        yield key, table[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number in groups of seven bits, and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7


def _message(data: bytes) -> dict[int, list]:
    """Fields of a message: number -> values (integers, or bytes for what has a length)."""
    fields: dict[int, list] = {}
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = _varint(data, position)
        elif kind == 2:
            length, position = _varint(data, position)
            value = data[position : position + length]
            position += length
        elif kind == 5:
            value = int.from_bytes(data[position : position + 4], "little")
            position += 4
        else:
            raise ValueError(f"a field of wire type {kind}")
        fields.setdefault(number, []).append(value)
    return fields


def _first(fields: dict[int, list], number: int, default):
    return fields.get(number, [default])[0]


# Checksums


def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ (table & 1) * np.uint32(0x82F63B78)
    return table


CRC_TABLE = _crc_table()


def masked_crc32c(data: bytes) -> int:
    """Castagnoli's checksum (RFC 3720, appendix B.4) as TensorFlow stores it.

    The checksum is linear: pieces of equal length are summed side by side, beside what their length
    does to each bit of a sum, and joined afterwards.
    """
    pieces = max(isqrt(len(data)), 1)
    length = len(data) // pieces
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    sums = np.concatenate([np.zeros(pieces, np.uint32), bits])
    columns = np.frombuffer(data, np.uint8, pieces * length).reshape(pieces, length).T
    for column in np.ascontiguousarray(columns):
        sums[:pieces] ^= column
        sums = (sums >> 8) ^ CRC_TABLE[sums & 0xFF]
    crc = 0xFFFFFFFF
    for piece in sums[:pieces]:
        crc = int(np.bitwise_xor.reduce(sums[pieces:][(bits & crc) != 0]) ^ piece)
    for byte in data[pieces * length :]:
        crc = crc >> 8 ^ int(CRC_TABLE[(crc ^ byte) & 0xFF])
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
