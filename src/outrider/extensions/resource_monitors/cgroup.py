"""Numbers of the control group (v2, with v1's places for memory) that this process lives in."""

from __future__ import annotations

from typing import Final

CGROUP: Final = "/sys/fs/cgroup"


def read_number(path: str) -> int | None:
    """The first number of a file; None where it says "max". Raises OSError, ValueError."""
    with open(path, encoding="ascii") as file:
        text = file.read().split()[0]
    return None if text == "max" else int(text)
