"""Records which configuration fields the product reads: the evidence behind docs/support.md.

    PYTHONPATH=src python -m pytest tests -m 'not parity and not corpus and not integration' -p tools.read_recorder
    PYTHONPATH=src python tools/read_recorder.py CONFIG...       builds each configuration as `--mode validate` does

Both add to `.cache/reads.json`: message type -> names of the fields that a factory has read. A field that no factory
reads is refused when it is set, so what is read is what is honoured.
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).resolve().parent.parent / ".cache" / "reads.json"
_SEEN: list[tuple[str, set[str]]] = []


def install() -> None:
    """Have every View that is made from now on remembered (its set of read names only)."""
    from outrider.config.view import View

    original = View.__init__

    def remembering(self: Any, proto: Any, *args: Any, **kwargs: Any) -> None:
        original(self, proto, *args, **kwargs)
        _SEEN.append((proto.DESCRIPTOR.full_name, self._read))

    View.__init__ = remembering  # type: ignore[method-assign]


def save() -> None:
    """Merge what was seen into the file."""
    reads: dict[str, set[str]] = {}
    if OUTPUT.exists():
        reads = {name: set(fields) for name, fields in json.loads(OUTPUT.read_text()).items()}
    for name, fields in _SEEN:
        reads.setdefault(name, set()).update(fields)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps({name: sorted(fields) for name, fields in sorted(reads.items())}, indent=0))


def pytest_configure(config: Any) -> None:
    install()


def pytest_unconfigure(config: Any) -> None:
    save()


def main() -> int:
    """Each configuration in a process of its own: building leaves traces."""
    for path in sys.argv[1:]:
        child = os.fork()
        if child == 0:
            install()
            from outrider.cli import main as outrider

            sys.argv = ["outrider", "--mode", "validate", "-c", path, "--unsupported", "warn", "-l", "off"]
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                try:
                    outrider()
                except BaseException:
                    pass
            save()
            os._exit(0)
        os.waitpid(child, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
