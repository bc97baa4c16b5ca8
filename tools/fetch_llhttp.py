"""Gets llhttp's C sources: they ship in the source distribution of httptools, which is a dependency anyway.

    python tools/fetch_llhttp.py        prints the folder that holds `include/llhttp.h` and `src/*.c`

The folder is taken from the variable OUTRIDER_LLHTTP, else from the cache (`.cache/` beside this folder), else pip
downloads the source distribution once.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HTTPTOOLS = "0.9.0"
SHA256 = "d484ebb7e3a3f3597b0f645fbd1b85633674ca808c1f5ba11c2caf7c66f5c8b6"
ROOT = Path(__file__).resolve().parent.parent
_WANTED = ("include/llhttp.h", "src/api.c", "src/http.c", "src/llhttp.c", "LICENSE")


class FetchError(Exception):
    """The sources cannot be had."""


def fetch() -> Path:
    """The folder with llhttp's sources. Raises FetchError."""
    given = os.environ.get("OUTRIDER_LLHTTP")
    if given:
        folder = Path(given)
        if not (folder / "include" / "llhttp.h").is_file():
            raise FetchError(f"OUTRIDER_LLHTTP: no include/llhttp.h in {folder}")
        return folder
    folder = ROOT / ".cache" / f"llhttp-httptools-{HTTPTOOLS}"
    if not all((folder / name).is_file() for name in _WANTED):
        _download(folder)
    return folder


def _download(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-binary", "httptools", "--dest", place, f"httptools=={HTTPTOOLS}"]  # fmt: skip
        try:
            subprocess.run(command, check=True, stdout=sys.stderr)
        except (OSError, subprocess.CalledProcessError) as error:
            raise FetchError(f"pip could not download httptools {HTTPTOOLS}: {error}") from error
        archive = Path(place, f"httptools-{HTTPTOOLS}.tar.gz")
        content = archive.read_bytes()
        if hashlib.sha256(content).hexdigest() != SHA256:
            raise FetchError(f"{archive.name} is not the file that was reviewed")
        with tarfile.open(archive) as tar:
            for name in _WANTED:
                member = tar.extractfile(f"httptools-{HTTPTOOLS}/vendor/llhttp/{name}")
                if member is None:
                    raise FetchError(f"no {name} in {archive.name}")
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(member.read())


if __name__ == "__main__":
    try:
        print(fetch())
    except FetchError as problem:
        sys.exit(str(problem))
