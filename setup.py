"""Build steps beyond pyproject.toml: API descriptors, the Cython bindings, the mypyc-compiled hot path.

`OUTRIDER_PURE=1` builds neither Cython nor mypyc extensions: everything then runs interpreted. A compiler that fails
is reported and leaves the same interpreted, working install.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# Extensions with at least this many C files are compiled in parallel.
MANY = 4
PURE = os.environ.get("OUTRIDER_PURE", "") not in ("", "0")
sys.path.insert(0, str(ROOT))


def warn(text: str) -> None:
    print(f"outrider: {text}", file=sys.stderr, flush=True)


class BuildPy(build_py):
    """Makes the descriptor set of the configuration API before the package's files are gathered."""

    def run(self) -> None:
        from tools import build_api

        if not all((build_api.OUTPUT / name).is_file() for name in build_api.FILES):
            warn(f"configuration API from {build_api.build()}")
        super().run()


class OptionalBuildExt(build_ext):
    """A failed compiler means an interpreted install, said clearly, not a failed one."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            if os.environ.get("OUTRIDER_REQUIRE_COMPILED"):
                raise
            warn(f"compiling failed ({error}); installing the interpreted form, which is slower but complete")
            self.extensions = []
        self.remove_stale()

    def remove_stale(self) -> None:
        """Take out of the build folder what an earlier build compiled and this one does not."""
        if self.inplace:
            return
        current = {os.path.abspath(path) for path in super().get_outputs()} if self.extensions else set()
        for path in Path(self.build_lib).glob("**/*.so"):
            if os.path.abspath(path) not in current:
                path.unlink()

    def build_extensions(self) -> None:
        """Compile the C files of one extension side by side; distutils alone takes one after the other."""
        serial = self.compiler.compile

        def parallel(sources: list[str], *args: object, **kwargs: object) -> list[str]:
            if len(sources) < MANY:
                return serial(sources, *args, **kwargs)
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                done = list(pool.map(lambda source: serial([source], *args, **kwargs), sources))
            return [path for paths in done for path in paths]

        self.compiler.compile = parallel
        super().build_extensions()

    def get_outputs(self) -> list[str]:
        return [path for path in super().get_outputs() if os.path.exists(path)]


def native_extensions() -> list[Extension]:
    """The Cython bindings; their build file is loaded by path, since the package itself is not importable yet."""
    path = ROOT / "src" / "outrider" / "native" / "build.py"
    spec = importlib.util.spec_from_file_location("outrider_native_build", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.extensions())


def extensions() -> list[Extension]:
    if PURE:
        return []
    found: list[Extension] = []
    try:
        found += native_extensions()
    except Exception as error:
        if os.environ.get("OUTRIDER_REQUIRE_COMPILED"):
            raise
        warn(f"the Cython bindings are left out ({error}); slower fall-backs take their place")
    try:
        from tools import build_compiled

        found += build_compiled.extensions()
    except BaseException as error:  # mypyc ends with SystemExit when it finds a type error
        if os.environ.get("OUTRIDER_REQUIRE_COMPILED") or isinstance(error, KeyboardInterrupt):
            raise
        warn(f"the hot path is not compiled ({error}); it runs interpreted")
    return found


setup(ext_modules=extensions(), cmdclass={"build_py": BuildPy, "build_ext": OptionalBuildExt})
