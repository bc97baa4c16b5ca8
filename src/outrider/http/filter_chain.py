"""The configured chain of HTTP filters: what is known about each entry before any stream exists."""

from __future__ import annotations

from typing import Final

from outrider.http.filter import HttpFilter, HttpFilterFactory

# What a filter's class overrides.
HOOK_DECODE: Final = 1
HOOK_ENCODE: Final = 2
HOOK_START: Final = 4
HOOK_STREAM_COMPLETE: Final = 8
HOOK_LOCAL_REPLY: Final = 16
HOOK_WATERMARK: Final = 32
HOOK_DECODE_COMPLETE: Final = 64
HOOK_ENCODE_COMPLETE: Final = 128

_GROUPS: Final[list[tuple[int, list[str]]]] = [
    (HOOK_DECODE, ["decode_headers", "decode_data", "decode_trailers"]),
    (HOOK_ENCODE, ["encode_1xx_headers", "encode_headers", "encode_data", "encode_trailers"]),
    (HOOK_START, ["on_start"]),
    (HOOK_STREAM_COMPLETE, ["on_stream_complete"]),
    (HOOK_LOCAL_REPLY, ["on_local_reply"]),
    (HOOK_WATERMARK, ["on_above_write_buffer_high_watermark", "on_below_write_buffer_low_watermark"]),
    (HOOK_DECODE_COMPLETE, ["decode_complete"]),
    (HOOK_ENCODE_COMPLETE, ["encode_complete"]),
]
_KNOWN: dict[type, int] = {}


def hooks_of(http_filter: HttpFilter) -> int:
    """Bits of the hook groups that the filter's class overrides; computed once a class."""
    kind = type(http_filter)
    known = _KNOWN.get(kind, -1)
    if known < 0:
        known = 0
        for bit, names in _GROUPS:
            for name in names:
                if getattr(kind, name) is not getattr(HttpFilter, name):
                    known |= bit
        _KNOWN[kind] = known
    return known


class FilterChainEntry:
    """One configured filter."""

    __slots__ = ("factory", "name", "disabled")

    def __init__(self, factory: HttpFilterFactory, name: str, disabled: bool = False) -> None:
        self.factory = factory
        self.name = name
        # Off unless a route enables it.
        self.disabled = disabled


class HttpFilterChain:
    """The entries of a chain in decode order; the last one is terminal."""

    __slots__ = ("entries", "any_disabled")

    def __init__(self, entries: list[FilterChainEntry]) -> None:
        self.entries = entries
        self.any_disabled: bool = any([entry.disabled for entry in entries])
