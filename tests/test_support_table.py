"""docs/support.md is what its generator writes now: registry, recorded reads and judgements agree with the page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import outrider

ROOT = Path(__file__).resolve().parent.parent


def test_the_page_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "support_table.py"), "--check"],
        env={"PYTHONPATH": str(Path(outrider.__file__).resolve().parent.parent), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
