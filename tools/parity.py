"""Runs the parity tests; a file with a failure is run again from the start, with fresh proxies, up to three times.

    python tools/parity.py [pytest arguments]

Two files run side by side: most of the time both proxies wait. The proxies of a file live as long as it, and what they
hold (token buckets, pools) does too, so that a single case cannot be tried again. On a loaded machine a timeout of some
milliseconds may win the wrong race; a real difference fails each time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
AGAIN = 3
SIDE_BY_SIDE = ("-n", "2", "--dist", "loadfile")


def run(targets: list[str], report: Path, arguments: list[str]) -> int:
    command = [sys.executable, "-m", "pytest", *targets, f"--junitxml={report}", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def failed_files(report: Path) -> list[str]:
    """The files of the report with a failure or an error."""
    files: set[str] = set()
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            files.add(case.get("classname", "").replace(".", "/") + ".py")
    return sorted(name for name in files if (ROOT / name).is_file())


def main() -> int:
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="outrider-parity-") as folder:
        report = Path(folder) / "report.xml"
        status = run(["tests/parity"], report, [*SIDE_BY_SIDE, *arguments])
        for _ in range(AGAIN):
            files = failed_files(report) if status == 1 and report.is_file() else []
            if not files:
                break
            print(f"parity: once more with fresh proxies: {' '.join(files)}", flush=True)
            status = run(files, report, arguments)
    return status


if __name__ == "__main__":
    sys.exit(main())
