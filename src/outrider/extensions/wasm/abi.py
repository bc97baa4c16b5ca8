"""Numbers of the proxy-wasm ABI, and how lists of pairs travel.

Source: the Proxy-Wasm specification, ABI 0.2.1.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

# WasmResult
OK: Final = 0
NOT_FOUND: Final = 1
BAD_ARGUMENT: Final = 2
SERIALIZATION_FAILURE: Final = 3
PARSE_FAILURE: Final = 4
INVALID_MEMORY_ACCESS: Final = 6
EMPTY: Final = 7
CAS_MISMATCH: Final = 8
INTERNAL_FAILURE: Final = 10
UNIMPLEMENTED: Final = 12

# WasmHeaderMapType
REQUEST_HEADERS: Final = 0
REQUEST_TRAILERS: Final = 1
RESPONSE_HEADERS: Final = 2
RESPONSE_TRAILERS: Final = 3
GRPC_INITIAL_METADATA: Final = 4
GRPC_TRAILING_METADATA: Final = 5
CALL_HEADERS: Final = 6
CALL_TRAILERS: Final = 7

# WasmBufferType
REQUEST_BODY: Final = 0
RESPONSE_BODY: Final = 1
DOWNSTREAM_DATA: Final = 2
UPSTREAM_DATA: Final = 3
CALL_BODY: Final = 4
GRPC_MESSAGE: Final = 5
VM_CONFIGURATION: Final = 6
PLUGIN_CONFIGURATION: Final = 7

# WasmStreamType
STREAM_REQUEST: Final = 0
STREAM_RESPONSE: Final = 1
STREAM_DOWNSTREAM: Final = 2
STREAM_UPSTREAM: Final = 3

METRIC_COUNTER: Final = 0
METRIC_GAUGE: Final = 1
METRIC_HISTOGRAM: Final = 2

Pairs = Sequence[tuple[bytes, bytes]]
_MOST_PAIRS: Final = 10_000


def pack_pairs(pairs: Pairs) -> bytes:
    """The count, the sizes, then names and values with a zero byte after each."""
    parts: list[bytes] = [struct.pack("<I", len(pairs))]
    for name, value in pairs:
        parts.append(struct.pack("<II", len(name), len(value)))
    for name, value in pairs:
        parts += [name, b"\0", value, b"\0"]
    return b"".join(parts)


def unpack_pairs(data: bytes) -> list[tuple[bytes, bytes]]:
    """Raises ValueError for anything malformed."""
    if not data:
        return []
    if len(data) < 4:
        raise ValueError("too short")
    count = struct.unpack_from("<I", data)[0]
    if count > _MOST_PAIRS or 4 + count * 8 > len(data):
        raise ValueError("too many pairs")
    position = 4 + count * 8
    pairs: list[tuple[bytes, bytes]] = []
    for index in range(count):
        name_size, value_size = struct.unpack_from("<II", data, 4 + index * 8)
        if position + name_size + value_size + 2 > len(data):
            raise ValueError("truncated")
        name = data[position : position + name_size]
        position += name_size + 1
        pairs.append((name, data[position : position + value_size]))
        position += value_size + 1
    return pairs


def pack_value(value: object) -> bytes:
    """A property as modules read it."""
    if isinstance(value, bool):
        return b"\1" if value else b"\0"
    if isinstance(value, int):
        return struct.pack("<q", value)
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        return pack_pairs([(str(key).encode(), pack_value(each)) for key, each in value.items()])
    if isinstance(value, list | tuple):
        return pack_pairs([(str(index).encode(), pack_value(each)) for index, each in enumerate(value)])
    return b""
