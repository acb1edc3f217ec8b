"""Writes TensorFlow checkpoints as its Saver does, in one shard and one block."""

from pathlib import Path

import numpy as np

from mmseg_papers.checkpoints.tensorflow import DTYPES, MAGIC, masked_crc32c


def write_tensorflow_checkpoint(prefix: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write ``PREFIX.index`` and ``PREFIX.data-00000-of-00001``.

    Args:
        prefix (Path): Such as ``folder/model.ckpt``.
        tensors (dict[str, np.ndarray]): Variables.
    """
    codes = {np.dtype(name): code for code, name in DTYPES.items()}
    entries, shard, offset = {b"": b"\x08\x01"}, [], 0
    for key in sorted(tensors):
        values = np.ascontiguousarray(tensors[key])
        content = values.tobytes()
        dims = b"".join(_field(2, _number(1, size)) for size in tensors[key].shape)
        entries[key.encode()] = (
            _number(1, codes[values.dtype])
            + _field(2, dims)
            + _number(4, offset)
            + _number(5, len(content))
            + b"\x35"
            + masked_crc32c(content).to_bytes(4, "little")
        )
        shard.append(content)
        offset += len(content)
    table = _block(entries)
    handle = _varint(0) + _varint(len(table) - 5)
    index = _block({b"~": handle})
    footer = bytes(2) + _varint(len(table)) + _varint(len(index) - 5)
    Path(f"{prefix}.index").write_bytes(
        table + index + footer.ljust(40, b"\0") + MAGIC.to_bytes(8, "little")
    )
    Path(f"{prefix}.data-00000-of-00001").write_bytes(b"".join(shard))


def _block(entries: dict[bytes, bytes]) -> bytes:
    """Entries, the place of the only restart and their number, and type and checksum."""
    block = b"".join(
        b"\0" + _varint(len(key)) + _varint(len(value)) + key + value
        for key, value in entries.items()
    )
    block += bytes(4) + (1).to_bytes(4, "little") + b"\0"
    return block + masked_crc32c(block).to_bytes(4, "little")


def _varint(value: int) -> bytes:
    groups = []
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content
