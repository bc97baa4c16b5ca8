"""envoy.request_id.uuid: random UUIDs (RFC 9562 version 4) whose version digit may carry the trace reason.

Source: Envoy documentation, "HTTP header x-request-id"; `UuidRequestIdConfig`.
"""

from __future__ import annotations

import os
from typing import Final

from outrider.native.load import uuid_text

_BATCH: Final = 256

# The digit at position 14 and the trace reason it stands for (0 not traceable, 1 sampled, 2 service, 3 client forced).
_REASON_BY_DIGIT: Final[dict[int, int]] = {0x34: 0, 0x39: 1, 0x61: 2, 0x62: 3}
_DIGIT_BY_REASON: Final[list[bytes]] = [b"4", b"9", b"a", b"b"]
_UUID_LENGTH: Final = 36


class UuidSource:
    """Makes UUIDs from the kernel's random bytes, fetched in batches."""

    __slots__ = ("_pool", "_at")

    def __init__(self) -> None:
        self._pool: bytes = b""
        self._at: int = 0

    def next(self) -> bytes:
        """A version 4 UUID in text form."""
        at = self._at
        pool = self._pool
        if at >= len(pool):
            pool = os.urandom(16 * _BATCH)
            self._pool = pool
            at = 0
        self._at = at + 16
        return uuid_text(pool, at)


def reset_after_fork(source: UuidSource) -> None:
    """Forget prepared randomness: two processes must not give the same ids."""
    source._pool = b""
    source._at = 0


def trace_reason(request_id: bytes) -> int:
    """The trace reason in a request id; 0 when it carries none."""
    if len(request_id) != _UUID_LENGTH:
        return 0
    return _REASON_BY_DIGIT.get(request_id[14], 0)


def with_trace_reason(request_id: bytes, reason: int) -> bytes:
    """The id with its version digit set for `reason`; ids that are no UUIDs are returned as they are."""
    if len(request_id) != _UUID_LENGTH:
        return request_id
    return request_id[:14] + _DIGIT_BY_REASON[reason] + request_id[15:]


REQUEST_IDS: Final = UuidSource()
