"""Sockets of another network namespace (`SocketAddress.network_namespace_filepath`). Linux, with CAP_SYS_ADMIN."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_CLONE_NEWNET: Final = 0x40000000
_OWN: Final = "/proc/thread-self/ns/net"


@contextmanager
def network_namespace(path: str) -> Iterator[None]:
    """Sockets made by this thread meanwhile belong to the namespace in the file `path`; "" = this process' own.

    Raises OSError: there is no such namespace, or it may not be entered.
    """
    if not path:
        yield
        return
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        other = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(other)
        finally:
            os.close(other)
        try:
            yield
        finally:
            _enter(own)
    finally:
        os.close(own)


def _enter(descriptor: int) -> None:
    if not sys.platform.startswith("linux"):
        raise OSError("network namespaces are a feature of Linux")
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
