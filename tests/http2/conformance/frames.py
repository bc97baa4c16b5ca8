"""HTTP/2 frames as bytes, made and read without a library that would refuse wrong ones."""

from __future__ import annotations

from collections.abc import Iterable

import hpack

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8
PRIORITISED = 32
ERRORS = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Field = tuple[str, str]
GET: tuple[Field, ...] = ((":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/"))
POST: tuple[Field, ...] = ((":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", "/"))


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int = -1) -> bytes:
    """`length` overrides the true one."""
    size = len(payload) if length < 0 else length
    return size.to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


START = PREFACE + frame(SETTINGS)


def block(fields: Iterable[Field]) -> bytes:
    """A header block that leaves the dynamic table alone, so that each stands for itself."""
    return bytes(hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*field) for field in fields]))


def headers(stream: int, fields: Iterable[Field] = GET, flags: int = END_HEADERS | END_STREAM) -> bytes:
    return frame(HEADERS, flags, stream, block(fields))


def post(stream: int, *more: Field) -> bytes:
    """The headers of a request with a body."""
    return headers(stream, [*POST, *more], END_HEADERS)


def data(stream: int, body: bytes = b"", end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream, body)


def setting(identifier: int, value: int) -> bytes:
    return identifier.to_bytes(2, "big") + value.to_bytes(4, "big")


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(setting(*pair) for pair in pairs))


def window_update(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))


def reset(stream: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def with_field(name: str, value: str) -> list[Field]:
    return [*GET, (name, value)]


def without(name: str) -> list[Field]:
    return [field for field in GET if field[0] != name]


def replaced(name: str, value: str) -> list[Field]:
    return [(key, value if key == name else old) for key, old in GET]


class Frame:
    """One frame that was received."""

    __slots__ = ("kind", "flags", "stream", "payload")

    def __init__(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.kind = kind
        self.flags = flags
        self.stream = stream
        self.payload = payload


def read(received: bytes) -> list[Frame]:
    """The frames of what was received, which must be whole."""
    frames: list[Frame] = []
    at = 0
    while at < len(received):
        size = int.from_bytes(received[at : at + 3], "big")
        assert at + 9 + size <= len(received), "a frame is cut off"
        stream = int.from_bytes(received[at + 5 : at + 9], "big")
        frames.append(Frame(received[at + 3], received[at + 4], stream, received[at + 9 : at + 9 + size]))
        at += 9 + size
    return frames


def error_name(code: int) -> str:
    return ERRORS[code] if code < len(ERRORS) else str(code)
