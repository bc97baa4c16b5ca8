"""The extension modules of this package, for setup.py; run as a module, builds them in place.

Everything here is optional: where there is no C compiler, no Cython or no source of a library, the Python fallbacks
serve (see `load.py`).
"""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).resolve().parent
_ROOT = _FOLDER.parents[2]


def llhttp_folder() -> Path:
    """Where llhttp's C sources are; gets them when they are not there yet. Raises an exception when that fails."""
    path = _ROOT / "tools" / "fetch_llhttp.py"
    spec = importlib.util.spec_from_file_location("fetch_llhttp", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder: Path = module.fetch()
    return folder


def extensions() -> list[Any]:
    """setuptools `Extension` objects, cythonized. A failure is told on stderr and leaves the module out."""
    try:
        cython: Any = import_module("Cython.Build")
        setuptools: Any = import_module("setuptools")
        llhttp = llhttp_folder()
    except Exception as error:
        print(f"outrider: native HTTP/1 modules are not built: {error}", file=sys.stderr)
        return []
    sources = [_FOLDER / "http1.pyx", *(llhttp / "src" / name for name in ("api.c", "http.c", "llhttp.c"))]
    parser = setuptools.Extension(
        "outrider.native.http1",
        [_relative(source) for source in sources],
        include_dirs=[_relative(llhttp / "include")],
        extra_compile_args=["-O3", "-fno-strict-aliasing", "-Wno-unreachable-code"],
        optional=True,
    )
    writer = setuptools.Extension(
        "outrider.native.http1_writer",
        [_relative(_FOLDER / "http1_writer.pyx")],
        extra_compile_args=["-O3"],
        optional=True,
    )
    modules = [parser, writer]
    modules.append(
        setuptools.Extension(
            "outrider.native.tls", [_relative(_FOLDER / "tls.pyx")], extra_compile_args=["-O3"], optional=True
        )
    )
    if sys.platform == "linux":
        modules.append(
            setuptools.Extension(
                "outrider.native.sockets",
                [_relative(_FOLDER / "sockets.pyx")],
                extra_compile_args=["-O3"],
                optional=True,
            )
        )
    if nghttp2_header() is None:
        print("outrider: HTTP/2 is not built: nghttp2/nghttp2.h is missing (libnghttp2-dev)", file=sys.stderr)
    else:
        modules.append(
            setuptools.Extension(
                "outrider.native.http2",
                [_relative(_FOLDER / "http2.pyx")],
                libraries=["nghttp2"],
                extra_compile_args=["-O3"],
                optional=True,
            )
        )
    built: list[Any] = cython.cythonize(modules, language_level=3, quiet=True)
    return built


def nghttp2_header() -> Path | None:
    """Where nghttp2's header is, or None."""
    for folder in [*os.environ.get("C_INCLUDE_PATH", "").split(os.pathsep), "/usr/include", "/usr/local/include"]:
        path = Path(folder) / "nghttp2" / "nghttp2.h"
        if folder and path.is_file():
            return path
    return None


def _relative(path: Path) -> str:
    """setuptools wants sources relative to setup.py."""
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)


def build_in_place() -> None:
    """Compile into this folder. Exits with 1 when something could not be built."""
    os.chdir(_ROOT)
    modules = extensions()
    setuptools: Any = import_module("setuptools")
    distribution = setuptools.Distribution({"ext_modules": modules, "package_dir": {"": "src"}})
    command: Any = distribution.get_command_obj("build_ext")
    command.inplace = True
    command.build_temp = str(_ROOT / "build" / "native")
    command.ensure_finalized()
    command.run()
    wanted = ["http1", "http1_writer"] + ([] if nghttp2_header() is None else ["http2"])
    for name in wanted:
        if not list(_FOLDER.glob(f"{name}.*.so")) + list(_FOLDER.glob(f"{name}.*.pyd")):
            sys.exit(1)


if __name__ == "__main__":
    build_in_place()
