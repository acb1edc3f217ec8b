"""Downloads that are whole or not there."""

from __future__ import annotations

import hashlib
import tempfile
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from rich.console import Console
from rich.progress import Progress

CHUNK = 2**20
TIMEOUT = 60  # seconds without a byte


def fetch(url: str, path: str | Path, sha256: str | None = None) -> Path:
    """Download a file; ``path`` appears when all of it is there and is what it should be.

    Args:
        url (str): Of a scheme that Python opens: https, http, ftp, file.
        path (str | Path): Where to put it; its folder is made. A file that is there is replaced.
        sha256 (str, optional): Hexadecimal digits that its SHA-256 begins with. Default: not
            checked.

    Returns:
        Path: ``path``.

    Raises:
        OSError: If the download fails, is cut off or has another hash, or cannot be written; names
            URL and path. Nothing is left behind.
    """
    path = Path(path)
    # Its folder may be new; until all is there, nothing is made but this.
    there = next(folder for folder in path.parents if folder.exists())
    digest = hashlib.sha256()
    try:
        with tempfile.TemporaryDirectory(".partial", f"{path.name}.", there) as folder:
            partial = Path(folder) / path.name
            with (
                partial.open("wb") as file,
                urlopen(url, timeout=TIMEOUT) as response,
                Progress(console=Console(stderr=True), transient=True) as progress,
            ):
                length = response.headers.get("Content-Length")
                task = progress.add_task(path.name, total=length and int(length))
                while chunk := response.read(CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    progress.advance(task, len(chunk))
                received = file.tell()
            if length and received < int(length):
                raise OSError(f"the connection was cut after {received} of {length} bytes")
            if sha256 and not digest.hexdigest().startswith(sha256.lower()):
                raise OSError(f"its SHA-256 is {digest.hexdigest()}, not {sha256}")
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(path)
    except (OSError, HTTPException, ValueError) as error:
        raise OSError(f"could not download {url} to {path}: {error}") from error
    return path
