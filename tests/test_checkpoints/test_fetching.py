"""A download is whole or not there, against a real server."""

import hashlib
import resource
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmseg_papers.checkpoints.fetching import fetch

CONTENT = bytes(range(256)) * 20
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """``/whole`` sends all, ``/cut`` half of it, ``/chunked`` does not say how much."""

    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/chunked":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/cut" else CONTENT)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("name", ["whole", "chunked"])
@pytest.mark.parametrize("sha256", [None, SHA256, SHA256[:8].upper()])
def test_whole(url, tmp_path, name, sha256):
    path = fetch(f"{url}/{name}", tmp_path / "new" / "file.pth", sha256)
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "sha256", "message"),
    [
        ("cut", None, "cut after 2560 of 5120 bytes"),
        ("missing", None, "404"),
        ("whole", "abcdef01", f"SHA-256 is {SHA256}, not abcdef01"),
    ],
)
def test_nothing_is_left_behind(url, tmp_path, name, sha256, message):
    (tmp_path / "file.pth").write_bytes(b"before")
    with pytest.raises(OSError, match=message) as caught:
        fetch(f"{url}/{name}", tmp_path / "file.pth", sha256)
    assert f"could not download {url}/{name} to {tmp_path}/file.pth" in str(caught.value)
    assert [f.read_bytes() for f in tmp_path.iterdir()] == [b"before"]


@pytest.mark.parametrize("name", ["cut", "missing"])
def test_no_folder_is_left_behind(url, tmp_path, name):
    with pytest.raises(OSError, match="could not download"):
        fetch(f"{url}/{name}", tmp_path / "new" / "er" / "file.pth")
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_folders_place(url, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=f"could not download {url}/whole to {tmp_path}/file/x.pth"):
        fetch(f"{url}/whole", tmp_path / "file" / "x.pth")


def test_no_server(tmp_path):
    with pytest.raises(OSError, match=r"could not download http://127\.0\.0\.1:9/x to .*refused"):
        fetch("http://127.0.0.1:9/x", tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_file_that_cannot_grow(url, tmp_path):
    """As on a full disk: the system refuses to write on."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, most))
    try:
        with pytest.raises(OSError, match=rf"download {url}/whole to {tmp_path}/x: .*too large"):
            fetch(f"{url}/whole", tmp_path / "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert not list(tmp_path.iterdir())
