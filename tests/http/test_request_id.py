"""Request ids."""

from __future__ import annotations

import uuid

from outrider.http.request_id import UuidSource, reset_after_fork, trace_reason, with_trace_reason


def test_ids_are_random_version_4_uuids() -> None:
    source = UuidSource()
    seen = {source.next() for _ in range(2000)}
    assert len(seen) == 2000
    for text in seen:
        parsed = uuid.UUID(text.decode())
        assert parsed.version == 4
        assert parsed.variant == uuid.RFC_4122


def test_no_randomness_is_shared_after_a_fork() -> None:
    source = UuidSource()
    source.next()
    reset_after_fork(source)
    assert source._pool == b""
    assert len(source.next()) == 36


def test_trace_reason_digit() -> None:
    plain = b"7c9e6679-7425-40de-944b-e07fc1f90ae7"
    assert trace_reason(plain) == 0
    for reason, digit in ((1, b"9"), (2, b"a"), (3, b"b")):
        marked = with_trace_reason(plain, reason)
        assert marked[14:15] == digit
        assert trace_reason(marked) == reason
    assert with_trace_reason(b"not a uuid", 3) == b"not a uuid"
    assert trace_reason(b"not a uuid") == 0
