"""Files are read without running code from them, and written whole or not at all."""

import hashlib
import io
import resource
import tarfile
import threading
from collections import OrderedDict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.io import savemat

from mmseg_papers.checkpoints.files import read_weights, save_whole

from ..reference import FOLDER

WEIGHTS = {"a": torch.rand(3, 4), "b": torch.rand(2000)}
TINY = FOLDER / "deeplab" / "tf_tiny.ckpt"


@pytest.fixture
def url(tmp_path, monkeypatch):
    """A server of the folder ``www``; downloads are kept in ``cache``."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    (tmp_path / "www").mkdir()
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(handler, directory=str(tmp_path / "www"))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def assert_is_weights(content):
    assert content.keys() == WEIGHTS.keys()
    assert all(np.array_equal(content[name], value) for name, value in WEIGHTS.items())


@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch(tmp_path, zipped):
    """Of today, and in the format before PyTorch 1.6, with NumPy's numbers beside the tensors."""
    file = tmp_path / "f.pth"
    content = dict(state_dict=OrderedDict(WEIGHTS), best_pred=np.float64(0.7), epoch=np.int64(3))
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    assert_is_weights(read_weights(str(file))["state_dict"])


def test_safetensors(tmp_path):
    save_file(WEIGHTS, tmp_path / "f.safetensors")
    assert_is_weights(read_weights(str(tmp_path / "f.safetensors")))


def test_matlab(tmp_path):
    savemat(tmp_path / "f.mat", {name: value.numpy() for name, value in WEIGHTS.items()})
    content = read_weights(str(tmp_path / "f.mat"))
    assert content.keys() == WEIGHTS.keys()
    assert np.array_equal(content["b"].ravel(), WEIGHTS["b"])


def test_tensorflow_archive_beside_what_else_is_in_it(tmp_path):
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for file in FOLDER.glob("deeplab/tf_tiny.ckpt*"):
            tar.add(file, f"model/{file.name}")
        tar.addfile(tarfile.TarInfo("model/frozen_inference_graph.pb"))
    plain = read_weights(str(TINY))
    for source in (archive, f"{TINY}.index", f"{TINY}.meta", f"{TINY}.data-00000-of-00001"):
        content = read_weights(str(source))
        assert content.keys() == plain.keys()
        assert all(np.array_equal(content[name], value) for name, value in plain.items())


def test_tensorflow_without_its_index(tmp_path):
    (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(bytes(9))
    with pytest.raises(FileNotFoundError, match=r"model\.ckpt\.index"):
        read_weights(str(tmp_path / "model.ckpt.data-00000-of-00001"))


def test_archive_of_two_checkpoints(tmp_path):
    archive = tmp_path / "models.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for file in FOLDER.glob("deeplab/tf_tiny.ckpt*"):
            tar.add(file, f"a/{file.name}")
            tar.add(file, f"b/{file.name}")
    with pytest.raises(ValueError, match=r"models\.tgz holds 2 TensorFlow checkpoints, not one"):
        read_weights(str(archive))


def test_archive_that_reaches_outside(tmp_path):
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("../../escaped.index")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(OSError, match=r"escaped\.index is no index of a TensorFlow checkpoint"):
        read_weights(str(archive))
    assert not list(Path(tmp_path).parent.rglob("escaped.index"))


class Foreign:
    """What a file must not build."""


@pytest.mark.parametrize("zipped", [True, False])
def test_foreign_class(tmp_path, zipped):
    file = tmp_path / "f.pth"
    torch.save({**WEIGHTS, "x": Foreign()}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"f\.pth needs tests\.\S+\.Foreign, .*could run code"):
        read_weights(str(file))


@pytest.mark.parametrize(
    ("name", "share"),
    [
        *(("zipped.pth", share) for share in (0.0, 0.1, 0.5, 0.99)),
        *(("old.pth", share) for share in (0.0, 0.1, 0.5, 0.99)),
        *(("f.safetensors", share) for share in (0.0, 0.001, 0.5)),
        *(("f.mat", share) for share in (0.0, 0.5)),
        *(("f.tar.gz", share) for share in (0.0, 0.5)),
    ],
)
def test_cut_short(tmp_path, name, share):
    file = tmp_path / name
    if file.suffix == ".pth":
        torch.save(WEIGHTS, file, _use_new_zipfile_serialization=name == "zipped.pth")
    elif file.suffix == ".safetensors":
        save_file(WEIGHTS, file)
    elif file.suffix == ".mat":
        savemat(file, {name: value.numpy() for name, value in WEIGHTS.items()})
    else:
        with tarfile.open(file, "w:gz") as tar:
            for member in FOLDER.glob("deeplab/tf_tiny.ckpt*"):
                tar.add(member, member.name)
    read_weights(str(file))
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(OSError, match=rf"{name} is no .* or is cut short"):
        read_weights(str(file))


def test_what_holds_no_weights(tmp_path):
    # The second one reads as a pickle that asks for a class.
    for text in ("<html>Quota exceeded</html>", "classes = (\n    'road',\n)\n"):
        (tmp_path / "text.pth").write_text(text)
        with pytest.raises(OSError, match=r"text\.pth is no PyTorch file"):
            read_weights(str(tmp_path / "text.pth"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list\.pth holds a list, not a dict of weights"):
        read_weights(str(tmp_path / "list.pth"))
    with pytest.raises(FileNotFoundError, match=r"neither \S+none\.ckpt nor \S+none\.ckpt\.index"):
        read_weights(str(tmp_path / "none.ckpt"))
    (tmp_path / "new.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(9))
    with pytest.raises(ValueError, match=r"new\.mat is a MATLAB 7\.3 file.*'-v7'"):
        read_weights(str(tmp_path / "new.mat"))


def test_sha256(tmp_path):
    file = tmp_path / "f.pth"
    torch.save(WEIGHTS, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    for digits in (digest, digest[:8].upper()):
        assert_is_weights(read_weights(str(file), digits))
    with pytest.raises(OSError, match=rf"SHA-256 of .*f\.pth is {digest}, not abcdef01"):
        read_weights(str(file), "abcdef01")
    with pytest.raises(ValueError, match=r"of one file, but .* is of several"):
        read_weights(str(TINY), "abcdef01")


def test_url(url, tmp_path):
    torch.save(WEIGHTS, tmp_path / "www" / "f.pth")
    assert_is_weights(read_weights(f"{url}/f.pth?raw=true"))
    with pytest.raises(OSError, match=r"could not download .*/missing\.pth to .*404"):
        read_weights(f"{url}/missing.pth")
    with pytest.raises(OSError, match=r"could not download .* is [\da-f]{64}, not abcdef01"):
        read_weights(f"{url}/f.pth", "abcdef01")
    kept = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert [file.name for file in kept] == ["f.pth"]
    (tmp_path / "www" / "f.pth").unlink()
    assert_is_weights(read_weights(f"{url}/f.pth?raw=true"))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_what_cannot_be_read_is_downloaded_again(url, tmp_path, share):
    """A page in place of a file, or half of it, where no length says how much is to come."""
    file = tmp_path / "www" / "f.pth"
    torch.save(WEIGHTS, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))] or b"<html>Quota exceeded</html>")
    message = rf"no PyTorch file of weights, or is cut short\. It was kept of {url}/f\.pth and is"
    with pytest.raises(OSError, match=message):
        read_weights(f"{url}/f.pth")
    file.write_bytes(content)
    assert_is_weights(read_weights(f"{url}/f.pth"))


def test_what_is_kept_with_another_sha256_is_downloaded_again(url, tmp_path):
    file = tmp_path / "www" / "f.pth"
    torch.save({"x": torch.ones(1)}, file)
    read_weights(f"{url}/f.pth")
    torch.save(WEIGHTS, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(OSError, match=rf"not {digest}\. It was kept of {url}/f\.pth and is"):
        read_weights(f"{url}/f.pth", digest)
    assert_is_weights(read_weights(f"{url}/f.pth", digest))


def test_what_needs_code_stays_for_its_cure(url, tmp_path):
    torch.save({"x": Foreign()}, tmp_path / "www" / "f.pth")
    with pytest.raises(ValueError, match=r"Foreign, .* load it once") as caught:
        read_weights(f"{url}/f.pth")
    assert Path(str(caught.value).split(" needs ")[0]).is_file()


def test_urls_of_the_same_file_name(url, tmp_path):
    for folder, value in (("a", 1.0), ("b", 2.0)):
        (tmp_path / "www" / folder).mkdir()
        torch.save({"x": torch.tensor(value)}, tmp_path / "www" / folder / "final.pth")
    assert read_weights(f"{url}/a/final.pth")["x"] == 1
    assert read_weights(f"{url}/b/final.pth")["x"] == 2


@pytest.mark.parametrize("name", ["f.pth", "f.safetensors"])
def test_saved_whole_or_not_at_all(tmp_path, name):
    file = tmp_path / "new" / name
    save_whole(dict(state_dict=WEIGHTS), file)
    before = file.read_bytes()
    assert_is_weights(
        load_file(file) if file.suffix == ".safetensors" else torch.load(file)["state_dict"]
    )
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, most))
    try:
        with pytest.raises(OSError, match=f"could not write .*{name}"):
            save_whole(dict(state_dict={"a": torch.ones(9999)}), file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert [f.read_bytes() for f in file.parent.iterdir()] == [before]
