"""Downloads that are whole or not there."""

from __future__ import annotations

import hashlib
import os
import tempfile
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.request import urlopen

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
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file, urlopen(url, timeout=TIMEOUT) as response:
            total = response.headers.get("Content-Length")
            total = None if total is None else int(total)
            digest, received = _copy(response, file, total, path.name)
        if total is not None and received < total:
            raise OSError(f"the connection was cut after {received} of {total} bytes")
        if sha256 and not digest.startswith(sha256.lower()):
            raise OSError(f"its SHA-256 is {digest}, not {sha256}")
        os.chmod(name, 0o644)
        os.replace(name, path)
    except (OSError, HTTPException, ValueError) as error:
        raise OSError(f"could not download {url} to {path}: {error}") from error
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def _copy(response: HTTPResponse, file, total: int | None, description: str) -> tuple[str, int]:
    """Write what comes, with a progress bar; its SHA-256 and length."""
    digest, received = hashlib.sha256(), 0
    with Progress(transient=True) as progress:
        task = progress.add_task(description, total=total)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            progress.update(task, advance=len(chunk))
    return digest.hexdigest(), received
