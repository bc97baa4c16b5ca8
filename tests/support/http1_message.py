"""HTTP/1 framing as a test client or upstream needs it: where a message ends. Not a validator."""

from __future__ import annotations

import re
from collections.abc import Iterable

HeaderList = Iterable[tuple[str, str]]

_HEADER = re.compile(rb"^([^:\r\n]+):[ \t]*([^\r\n]*?)[ \t]*\r?$", re.MULTILINE)


def request(
    method: str,
    target: str = "/",
    host: str = "test",
    headers: HeaderList = (),
    body: bytes = b"",
    version: str = "HTTP/1.1",
) -> bytes:
    """One request; a body brings its content-length unless the headers frame it already."""
    lines = [f"{method} {target} {version}"]
    if host:
        lines.append(f"host: {host}")
    framed = False
    for name, value in headers:
        framed = framed or name.lower() in ("content-length", "transfer-encoding")
        lines.append(f"{name}: {value}")
    if body and not framed:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def get(target: str = "/", host: str = "test", *headers: tuple[str, str]) -> bytes:
    return request("GET", target, host, headers)


def post(target: str = "/", host: str = "test", *headers: tuple[str, str], body: bytes = b"abc") -> bytes:
    return request("POST", target, host, headers, body)


def answer(status: str = "200 OK", *headers: tuple[str, str], body: bytes = b"ok", framed: bool = True) -> bytes:
    """One response, with its content-length if `framed`."""
    lines = [f"HTTP/1.1 {status}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if framed:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def header_values(head: bytes, name: bytes) -> list[bytes]:
    return [match[1] for match in _HEADER.findall(head) if match[0].lower() == name]


def chunked_end(data: bytes, start: int) -> int:
    """Where a chunked body that starts at `start` ends, trailers included; -1 = not complete yet."""
    at = start
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return -1
        try:
            size = int(data[at:line_end].split(b";")[0], 16)
        except ValueError:
            return len(data)
        at = line_end + 2
        if size == 0:
            break
        at += size + 2
        if at > len(data):
            return -1
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return -1
        if line_end == at:
            return at + 2
        at = line_end + 2


def head_end(data: bytes, start: int) -> int:
    """Just after the empty line; -1 = not complete yet."""
    end = data.find(b"\r\n\r\n", start)
    return -1 if end < 0 else end + 4


def request_end(data: bytes) -> int:
    """Where the first request ends; -1 = not complete yet."""
    end = head_end(data, 0)
    if end < 0:
        return -1
    return body_end(data, data[:end], end)


def body_end(data: bytes, head: bytes, start: int) -> int:
    if any(b"chunked" in value.lower() for value in header_values(head, b"transfer-encoding")):
        return chunked_end(data, start)
    lengths = header_values(head, b"content-length")
    if lengths and lengths[0].isdigit():
        end = start + int(lengths[0])
        return end if end <= len(data) else -1
    return start


def response_end(data: bytes, start: int, to_head: bool) -> int:
    """Where the response starting at `start` ends; -1 = not complete yet (or only the end of the connection ends it)."""
    end = head_end(data, start)
    if end < 0:
        return -1
    head = data[start:end]
    status = head[9:12]
    if to_head or status in (b"204", b"304", b"101") or status.startswith(b"1"):
        return end
    if not header_values(head, b"content-length") and not header_values(head, b"transfer-encoding"):
        return -1
    return body_end(data, head, end)


def count_responses(data: bytes, to_head: bool = False) -> int:
    """Number of complete final responses (and 101) at the start of `data`."""
    at = 0
    count = 0
    while at < len(data):
        end = response_end(data, at, to_head)
        if end < 0:
            break
        status = data[at + 9 : at + 12]
        if not status.startswith(b"1") or status == b"101":
            count += 1
        at = end
    return count


def status_codes(data: bytes, to_head: bool = False) -> list[int]:
    """Codes of all complete responses, interim ones included, and of a last one which lasts until the end."""
    codes: list[int] = []
    at = 0
    while at < len(data):
        status = data[at + 9 : at + 12]
        if not data[at:].startswith(b"HTTP/1") or not status.isdigit():
            break
        codes.append(int(status))
        end = response_end(data, at, to_head)
        if end < 0:
            break
        at = end
    return codes
