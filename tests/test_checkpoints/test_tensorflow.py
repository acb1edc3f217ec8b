"""TensorFlow's checkpoints: read bit by bit, or refused with what is wrong."""

import shutil

import numpy as np
import pytest

from mmseg_papers.checkpoints import read_tensorflow_checkpoint
from mmseg_papers.checkpoints.tensorflow import masked_crc32c

from ..reference import FOLDER

TINY = FOLDER / "deeplab" / "tf_tiny.ckpt"


@pytest.fixture
def copy(tmp_path):
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy(f"{TINY}{suffix}", tmp_path)
    return tmp_path / TINY.name


def change(file, at, value):
    content = bytearray(file.read_bytes())
    content[at] = value
    file.write_bytes(content)


@pytest.mark.parametrize("name", [TINY, f"{TINY}.index"])
def test_reads_every_bit(name):
    tensors = read_tensorflow_checkpoint(name)
    assert tensors.pop("global_step") == np.int64(30000)
    with np.load(TINY.with_name("tf_tiny.npz")) as arrays:
        expected = {key.replace("|", "/"): array for key, array in arrays.items()}
    assert sorted(tensors) == sorted(expected)
    for key, array in expected.items():
        assert tensors[key].dtype == array.dtype
        np.testing.assert_array_equal(tensors[key], array)


@pytest.mark.parametrize("length", [0, 1, 9, 300])
def test_checksum(length):
    """Against the definition, bit by bit; and the check value of the nine digits."""
    data = b"123456789" if length == 9 else bytes(i * 37 % 256 for i in range(length))
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    assert length != 9 or crc == 0xE3069283
    assert masked_crc32c(data) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_missing_files(copy):
    with pytest.raises(FileNotFoundError, match=r"nothing\.ckpt\.index"):
        read_tensorflow_checkpoint(copy.with_name("nothing.ckpt"))
    copy.with_name(f"{copy.name}.data-00000-of-00001").unlink()
    with pytest.raises(FileNotFoundError, match="data-00000-of-00001"):
        read_tensorflow_checkpoint(copy)


@pytest.mark.parametrize("bytes_left", [0, 20, 400, 827])
def test_index_cut_off(copy, bytes_left):
    index = copy.with_name(f"{copy.name}.index")
    index.write_bytes(index.read_bytes()[:bytes_left])
    with pytest.raises(OSError, match=r"\.index is no index .*magic number"):
        read_tensorflow_checkpoint(copy)


def test_index_of_another_kind(copy):
    index = copy.with_name(f"{copy.name}.index")
    index.write_bytes(b"PK\x03\x04" + bytes(2000))
    with pytest.raises(OSError, match="no index of a TensorFlow checkpoint"):
        read_tensorflow_checkpoint(copy)


def test_index_changed(copy):
    change(copy.with_name(f"{copy.name}.index"), 100, 0)
    with pytest.raises(OSError, match="checksum of a block is wrong"):
        read_tensorflow_checkpoint(copy)


def test_index_compressed(copy):
    index = copy.with_name(f"{copy.name}.index")
    content = index.read_bytes()
    # The blocks of a table end with their type; the first one is followed by its checksum.
    for at, byte in enumerate(content[:-53]):
        trailer = int.from_bytes(content[at + 1 : at + 5], "little")
        if byte == 0 and masked_crc32c(content[: at + 1]) == trailer:
            break
    change(index, at, 1)
    with pytest.raises(OSError, match="compressed"):
        read_tensorflow_checkpoint(copy)


def test_data_cut_off(copy):
    data = copy.with_name(f"{copy.name}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-10])
    with pytest.raises(OSError, match=r"is cut off: .* ends at byte \d+, the file at 4674"):
        read_tensorflow_checkpoint(copy)


def test_data_changed(copy):
    data = copy.with_name(f"{copy.name}.data-00000-of-00001")
    change(data, 2000, data.read_bytes()[2000] ^ 1)
    with pytest.raises(OSError, match="damaged: the checksum of"):
        read_tensorflow_checkpoint(copy)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (b"\x08\x07", "is of type 7, not one of"),  # a string
        (b"\x08\x01\x3a\x00", "is stored in slices"),
        (b"\x08\x01\x18\x05", "is in shard 5 of 1"),
        (b"\x08\x01\x28\x08", r"of shape \[\] has 8 bytes instead of 4"),
        (b"\x09", "wire type 1"),
    ],
)
def test_entries_that_it_does_not_know(copy, field, message):
    header, key = b"\x08\x01", b"a"
    block = b"\x00\x00\x02" + header + b"\x00\x01" + bytes([len(field)]) + key + field
    block += bytes(4) + (1).to_bytes(4, "little")
    handle = bytes([0, len(block)])
    start = len(block) + 5
    index = b"\x00\x01\x02b" + handle + bytes(4) + (1).to_bytes(4, "little")
    table = b""
    for part in (block, index):
        table += part + b"\0" + masked_crc32c(part + b"\0").to_bytes(4, "little")
    footer = bytes([0, 0, start, len(index)])
    magic = (0xDB4775248B80FB57).to_bytes(8, "little")
    copy.with_name(f"{copy.name}.index").write_bytes(table + footer.ljust(40, b"\0") + magic)
    with pytest.raises(OSError, match=message):
        read_tensorflow_checkpoint(copy)
