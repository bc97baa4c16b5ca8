"""The interface of `http1.pyi` in Python, for places where the extension is not built: slower, and as strict.

httptools (llhttp as well) judges each header block, fed no further than its end; bodies are framed here, because
httptools cannot tell where in the fed bytes a message ended.
"""

from __future__ import annotations

import re
from typing import Any, Final

import httptools

from outrider.native.known_names import METHODS, REQUEST_JOINED, RESPONSE_JOINED
from outrider.native.parse_error import (
    CHUNK_EXTENSION_TOO_LONG,
    FLAG_CHUNKED,
    FLAG_CONNECTION,
    FLAG_CONTENT_LENGTH,
    FLAG_END,
    FLAG_KEEP_ALIVE,
    FLAG_TRANSFER_ENCODING,
    FLAG_UPGRADE,
    HEAD_TOO_LARGE,
    INVALID_CHARACTER,
    LENGTH_AND_CODING,
    REQUEST,
    SYNTAX,
    TOO_MANY_FIELDS,
    TRAILERS_TOO_LARGE,
    TRUNCATED,
    UNDERSCORE,
    UNDERSCORE_DROP,
    UNKNOWN_CODING,
    ParseError,
)

_IDLE: Final = 0
_HEAD: Final = 1
_LENGTH: Final = 2
_UNTIL_CLOSE: Final = 3
_CHUNK_SIZE: Final = 4
_CHUNK_DATA: Final = 5
_CHUNK_END: Final = 6
_TRAILERS: Final = 7
_DONE: Final = 8

_METHODS: Final = frozenset(METHODS)
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_METHOD_START: Final = re.compile(_TOKEN + rb"*")
_CHUNK_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]+)[ \t]*((?:;"
    + _TOKEN
    + rb"*(?:=(?:"
    + _TOKEN
    + rb'+|"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\.)*"))?)*)\Z'
)
# The line of a chunk while it is not complete.
_CHUNK_START: Final = re.compile(
    rb"[0-9A-Fa-f]+[ \t]*(?:;"
    + _TOKEN
    + rb"*(?:=(?:"
    + _TOKEN
    + rb'*|"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\.?)*"?))?)*\r?\Z'
)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TRAILER_PREFIX: Final = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
_LETTER_H: Final = 72
_HTTP_11: Final = 11
_MAX_LENGTH: Final = (1 << 64) - 1
# Digits of a chunk size that llhttp takes, leading zeros included, are not limited; its value is.
_SIZE_LINE: Final = 64


class Http1Parser:
    """See `http1.pyi`."""

    def __init__(
        self,
        mode: int,
        max_head_bytes: int,
        max_fields: int,
        *,
        underscores: int = 0,
        keep_case: bool = False,
        keep_reason: bool = False,
        allow_chunked_length: bool = False,
        custom_methods: bool = False,
        max_chunk_extension: int = 65536,
    ) -> None:
        self.mode = mode
        self.max_head = max_head_bytes
        self.max_fields = max_fields
        self.underscores = underscores
        self.keep_case = keep_case
        self.keep_reason = keep_reason
        self.allow_chunked_length = allow_chunked_length
        self.custom_methods = custom_methods and mode == REQUEST
        self.max_extension = max_chunk_extension
        self.dropped = 0
        self._phase = _IDLE
        # The unfinished head, chunk line or trailer section.
        self._carry = bytearray()
        self._left = 0
        self._skip = False
        self._ended = False
        self._raw = False
        self._end_told = False
        self._informational = False
        self._pieces: list[bytes] = []
        self._judge: Any = None
        self._method = b""
        self._collected = _Collected()

    @property
    def started(self) -> bool:
        return self._phase == _HEAD

    @property
    def idle(self) -> bool:
        return self._phase == _IDLE

    def expect_no_body(self, skip: bool) -> None:
        self._skip = skip

    def take_over(self) -> None:
        self._raw = True

    def stop(self) -> None:
        self._ended = True

    def feed(self, handler: Any, data: bytes, start: int = 0) -> int:
        if self._ended or self._raw:
            raise ParseError(SYNTAX, "the parser has ended")
        pos = start
        end = len(data)
        try:
            while True:
                if self._phase == _DONE:
                    self._finish_message(handler)
                    if not self._informational or self._ended:
                        return pos
                    continue
                if pos >= end:
                    break
                pos = self._step(handler, data, pos)
                if self._ended or self._raw:
                    return pos
        except ParseError:
            self._ended = True
            raise
        if self._pieces:
            handler.on_body(self._take_pieces(), False)
        return end

    def finish(self, handler: Any) -> None:
        if self._ended or self._raw or self._phase == _IDLE:
            return
        if self._phase == _UNTIL_CLOSE:
            self._phase = _IDLE
            handler.on_body(b"", True)
            return
        self._ended = True
        raise ParseError(TRUNCATED, "the connection ended within a message")

    # --- phases ---

    def _step(self, handler: Any, data: bytes, pos: int) -> int:
        phase = self._phase
        if phase == _IDLE:
            if self.mode != REQUEST and data[pos] != _LETTER_H:
                raise ParseError(SYNTAX, "Expected HTTP/")
            while pos < len(data) and data[pos] in b"\r\n":
                pos += 1
            if pos < len(data):
                self._begin_head()
            return pos
        if phase == _HEAD:
            return self._read_head(handler, data, pos)
        if phase == _LENGTH or phase == _CHUNK_DATA:
            take = min(self._left, len(data) - pos)
            self._add_piece(data, pos, pos + take)
            self._left -= take
            if self._left == 0:
                self._phase = _DONE if phase == _LENGTH else _CHUNK_END
            return pos + take
        if phase == _UNTIL_CLOSE:
            self._add_piece(data, pos, len(data))
            return len(data)
        if phase == _CHUNK_END:
            return self._read_chunk_end(data, pos)
        if phase == _CHUNK_SIZE:
            return self._read_chunk_size(data, pos)
        return self._read_trailers(data, pos)

    def _begin_head(self) -> None:
        self._phase = _HEAD
        self._carry.clear()
        self._method = b""
        self._collected = _Collected()
        self._judge = None
        if not self.custom_methods:
            self._make_judge()

    def _make_judge(self) -> None:
        make = httptools.HttpRequestParser if self.mode == REQUEST else httptools.HttpResponseParser
        self._judge = make(self._collected)
        self._judge.set_dangerous_leniencies(lenient_version=True, lenient_chunked_length=self.allow_chunked_length)

    def _read_head(self, handler: Any, data: bytes, pos: int) -> int:
        carry = self._carry
        known = len(carry)
        carry += data[pos:]
        stop = carry.find(b"\r\n\r\n", max(0, known - 3))
        if stop >= 0:
            stop += 4
            del carry[stop:]
        fresh = bytes(carry[known:])
        if self._judge is None:
            match = _METHOD_START.match(carry)
            assert match is not None
            if match.end() == len(carry):
                self._check_size(HEAD_TOO_LARGE)
                return len(data)
            if match.end() == 0 or carry[match.end()] != 32:
                raise ParseError(SYNTAX, "Invalid method encountered")
            self._method = bytes(match.group())
            self._make_judge()
            told = self._method if self._method in _METHODS else b"POST"
            fresh = told + bytes(carry[match.end() :])
        self._ask(fresh, bytes(carry))
        self._check_size(HEAD_TOO_LARGE)
        if stop < 0:
            return len(data)
        self._phase = _DONE
        self._head(handler, len(carry))
        return pos + stop - known

    def _check_size(self, kind: int) -> None:
        if len(self._carry) > self.max_head:
            what = "headers" if kind == HEAD_TOO_LARGE else "trailers"
            raise ParseError(kind, f"{what} size exceeds limit")
        if len(self._collected.fields) > self.max_fields:
            what = "headers" if kind == HEAD_TOO_LARGE else "trailers"
            raise ParseError(TOO_MANY_FIELDS, f"{what} count exceeds limit")

    def _ask(self, fresh: bytes, section: bytes) -> None:
        """Let httptools judge more bytes of a head or trailer section."""
        try:
            self._judge.feed_data(fresh)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            self._check_size(HEAD_TOO_LARGE if self._phase == _HEAD else TRAILERS_TOO_LARGE)
            text = str(error)
            if text.startswith("Pause on"):
                # A response that switches protocols, as httptools says it when it was not announced.
                return
            if self._phase == _HEAD and "can't be present with" in text:
                raise ParseError(LENGTH_AND_CODING, text) from None
            if self._phase == _HEAD and "Transfer-Encoding" in text:
                if text.startswith("Request has"):
                    # Said behind a whole head: for the codec to decide, as in the extension.
                    return
                raise ParseError(UNKNOWN_CODING, text) from None
            bad = _CONTROL.search(section) is not None and not isinstance(error, httptools.HttpParserInvalidMethodError)
            kind = INVALID_CHARACTER if bad else SYNTAX
            raise ParseError(kind, text) from None

    def _head(self, handler: Any, size: int) -> None:
        judge = self._judge
        collected = self._collected
        if bytes(self._carry[:5]) != b"HTTP/" and self.mode != REQUEST:
            raise ParseError(SYNTAX, "Expected HTTP/")
        if self.mode == REQUEST and b" ICE/" in bytes(self._carry[: self._carry.index(b"\r\n")]):
            raise ParseError(SYNTAX, "Expected HTTP/")
        single: dict[bytes, bytes] = {}
        case: dict[bytes, bytes] | None = {} if self.keep_case else None
        found = _Found()
        multi = self._fields(single, case, found)
        flags = found.flags
        length = -1
        text = found.length
        if text is not None:
            length = int(text)
            flags |= FLAG_CONTENT_LENGTH
        if b"upgrade" in single and _has_token(single.get(b"connection"), b"upgrade"):
            flags |= FLAG_UPGRADE
        major, minor = judge.get_http_version().split(".")
        version = int(major) * 10 + int(minor)
        if self.mode == REQUEST:
            method = self._method or judge.get_method()
            if not self.custom_methods and method not in _METHODS:
                raise ParseError(SYNTAX, "Invalid method encountered")
            self._informational = False
            end = not flags & FLAG_TRANSFER_ENCODING and length <= 0
        else:
            status = judge.get_status_code()
            self._informational = status < 200 and status != 101
            bodiless = self._skip or status < 200 or status in (204, 304)
            end = bodiless or (length == 0 and not flags & FLAG_TRANSFER_ENCODING)
        if end:
            flags |= FLAG_END
        until_close = self.mode != REQUEST and not end and not flags & (FLAG_CHUNKED | FLAG_CONTENT_LENGTH)
        if not until_close and _keeps_alive(version, single):
            flags |= FLAG_KEEP_ALIVE
        self._end_told = end
        self._carry.clear()
        if end:
            self._phase = _DONE
        elif flags & FLAG_CHUNKED:
            self._phase = _CHUNK_SIZE
        elif length > 0 and not flags & FLAG_TRANSFER_ENCODING:
            self._phase = _LENGTH
            self._left = length
        else:
            self._phase = _UNTIL_CLOSE
        if self.mode == REQUEST:
            handler.on_request_head(
                method, collected.url, found.host, version, flags, length, single, multi, case, size
            )
        else:
            reason = collected.status if self.keep_reason else None
            handler.on_response_head(status, reason, version, flags, length, single, multi, case, size)

    def _fields(
        self, single: dict[bytes, bytes], case: dict[bytes, bytes] | None, found: _Found
    ) -> dict[bytes, list[bytes]] | None:
        multi: dict[bytes, list[bytes]] | None = None
        joined = REQUEST_JOINED if self.mode == REQUEST else RESPONSE_JOINED
        in_head = self._phase != _TRAILERS
        for spelled, raw in self._collected.fields:
            name = spelled.lower()
            if b"_" in name and self.underscores:
                self.dropped += 1
                if self.underscores == UNDERSCORE_DROP:
                    continue
                raise ParseError(UNDERSCORE, "header name contains underscores")
            value = raw.rstrip(b" \t")
            if case is not None and name not in case:
                case[name] = spelled
            if name == b"transfer-encoding" and in_head:
                if not found.flags & FLAG_TRANSFER_ENCODING and value.lower() == b"chunked":
                    found.flags |= FLAG_CHUNKED
                else:
                    found.flags &= ~FLAG_CHUNKED
                found.flags |= FLAG_TRANSFER_ENCODING
                continue
            if name == b"host" and self.mode == REQUEST and in_head:
                found.host = value if found.host is None else found.host + b"," + value
                continue
            if name == b"connection" or name == b"proxy-connection":
                found.flags |= FLAG_CONNECTION
            elif name == b"content-length":
                found.length = value
            first = single.get(name)
            if first is None:
                single[name] = value
            elif name in joined:
                single[name] = first + b"," + value
            else:
                if multi is None:
                    multi = {}
                multi.setdefault(name, [first]).append(value)
        return multi

    def _read_chunk_size(self, data: bytes, pos: int) -> int:
        carry = self._carry
        known = len(carry)
        stop = data.find(b"\n", pos)
        carry += data[pos:] if stop < 0 else data[pos : stop + 1]
        line = bytes(carry)
        extension = line.find(b";")
        if extension >= 0 and len(line) - extension > self.max_extension:
            raise ParseError(CHUNK_EXTENSION_TOO_LONG, "chunk extension exceeds limit")
        if extension < 0 and len(line.lstrip(b"0")) > _SIZE_LINE:
            raise ParseError(SYNTAX, "Invalid character in chunk size")
        if stop < 0:
            if _CHUNK_START.match(line) is None:
                raise ParseError(SYNTAX, "Invalid character in chunk size")
            return len(data)
        match = _CHUNK_LINE.match(line[:-2]) if line.endswith(b"\r\n") else None
        if match is None:
            raise ParseError(SYNTAX, "Invalid character in chunk size")
        self._left = int(match.group(1), 16)
        if self._left > _MAX_LENGTH:
            raise ParseError(SYNTAX, "Chunk size overflow")
        carry.clear()
        if self._left:
            self._phase = _CHUNK_DATA
        else:
            self._phase = _TRAILERS
            self._collected = _Collected()
            self._judge = httptools.HttpRequestParser(self._collected)
            self._judge.feed_data(_TRAILER_PREFIX)
            self._collected.fields.clear()
        return pos + len(line) - known

    def _read_chunk_end(self, data: bytes, pos: int) -> int:
        expected = b"\r\n"[len(self._carry)]
        if data[pos] != expected:
            raise ParseError(SYNTAX, "Expected CRLF after chunk data")
        self._carry.append(expected)
        if len(self._carry) == 2:
            self._carry.clear()
            self._phase = _CHUNK_SIZE
        return pos + 1

    def _read_trailers(self, data: bytes, pos: int) -> int:
        carry = self._carry
        known = len(carry)
        carry += data[pos:]
        if carry.startswith(b"\r\n"):
            stop = 2
        else:
            stop = carry.find(b"\r\n\r\n", max(0, known - 3))
            if stop >= 0:
                stop += 4
        if stop >= 0:
            del carry[stop:]
        self._ask(bytes(carry[known:]), bytes(carry))
        self._check_size(TRAILERS_TOO_LARGE)
        if stop < 0:
            return len(data)
        self._phase = _DONE
        return pos + stop - known

    def _finish_message(self, handler: Any) -> None:
        trailers = self._collected.fields if self._judge is not None and not self._end_told else []
        if self._end_told:
            self._phase = _IDLE
        elif trailers and self._carry:
            single: dict[bytes, bytes] = {}
            case: dict[bytes, bytes] | None = {} if self.keep_case else None
            self._phase = _TRAILERS
            multi = self._fields(single, case, _Found())
            self._carry.clear()
            self._phase = _IDLE
            if self._pieces:
                handler.on_body(self._take_pieces(), False)
            handler.on_trailers(single, multi, case)
        else:
            self._carry.clear()
            self._phase = _IDLE
            handler.on_body(self._take_pieces(), True)

    def _add_piece(self, data: bytes, start: int, end: int) -> None:
        if end > start:
            self._pieces.append(data if start == 0 and end == len(data) else data[start:end])

    def _take_pieces(self) -> bytes:
        pieces = self._pieces
        if len(pieces) == 1:
            body = pieces[0]
        else:
            body = b"".join(pieces)
        self._pieces = []
        return body


class _Collected:
    """What httptools calls back."""

    __slots__ = ("url", "status", "fields")

    def __init__(self) -> None:
        self.url = b""
        self.status = b""
        self.fields: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_status(self, status: bytes) -> None:
        self.status += status

    def on_header(self, name: bytes, value: bytes | None) -> None:
        self.fields.append((name, b"" if value is None else value))


class _Found:
    """Facts of a section."""

    __slots__ = ("flags", "host", "length")

    def __init__(self) -> None:
        self.flags = 0
        self.host: bytes | None = None
        self.length: bytes | None = None


def _has_token(value: bytes | None, token: bytes) -> bool:
    return value is not None and token in [part.strip() for part in value.lower().split(b",")]


def _keeps_alive(version: int, single: dict[bytes, bytes]) -> bool:
    """RFC 9112 section 9.3, as llhttp reads it."""
    wishes = (single.get(b"connection"), single.get(b"proxy-connection"))
    if version >= _HTTP_11 and version % 10 > 0:
        return not any(_has_token(wish, b"close") for wish in wishes)
    return any(_has_token(wish, b"keep-alive") for wish in wishes)


def intern_name(name: bytes) -> None:
    """Nothing to do: names are made for each message here."""
