"""Memory of this process, as `/memory` and the `server.memory_*` gauges report it."""

from __future__ import annotations

import resource
import sys
from typing import Final

_PAGE: Final = resource.getpagesize()


def resident_bytes() -> int:
    """Physical memory in use, shared pages included."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def data_bytes() -> int:
    """Size of the data segment and stack: what has been asked of the system for this process' own use."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[5]) * _PAGE
    except OSError:
        return resident_bytes()


def allocated_bytes() -> int:
    """Memory in Python's own allocator (512-byte objects and smaller), estimated by its blocks."""
    return sys.getallocatedblocks() * 64
