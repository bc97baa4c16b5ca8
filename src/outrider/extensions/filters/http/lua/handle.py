"""The stream handle: what a script may do with one direction of a stream, and how the script goes on.

Source: Envoy documentation, "Lua", stream handle API.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import logging
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from outrider.data.filter_state import StringState
from outrider.data.header_map import HeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_LENGTH
from outrider.extensions.filters.http.lua.crypto import KeyStore, PublicKey, verify_signature
from outrider.extensions.filters.http.lua.facts import ConnectionFacts, StreamFacts
from outrider.extensions.filters.http.lua.stats import StatsFacts
from outrider.extensions.filters.http.lua.values import (
    Body,
    Headers,
    LuaFault,
    Metadata,
    fill_headers,
    lua_type,
    number_text,
    want_number,
    want_text,
)
from outrider.http.filter import LocalReplyModifier
from outrider.router.load_balancing import OVERRIDE_HOST_KEY

if TYPE_CHECKING:
    from outrider.extensions.filters.http.lua.call import HttpCall
    from outrider.extensions.filters.http.lua.filter import LuaFilter
    from outrider.extensions.filters.http.lua.script import Script
    from outrider.http.filter_manager import FilterManager

_log: Final = logging.getLogger("outrider.lua")
_TRACE: Final = 5

CANONICAL_NAME: Final = "envoy.filters.http.lua"

# What the script is doing.
RUNNING: Final = 0
WAIT_FOR_CHUNK: Final = 1
WAIT_FOR_BODY: Final = 2
WAIT_FOR_TRAILERS: Final = 3
HTTP_CALL: Final = 4
RESPONDED: Final = 5


class Wait:
    """Returned by methods whose outcome comes later."""


WAIT: Final = Wait()


class RoutePart:
    """`route()` and `virtualHost()`: their metadata under the filter's name."""

    __slots__ = ("lua", "values")

    def __init__(self, lua: Any, values: dict[str, object]) -> None:
        self.lua = lua
        self.values = values

    def get_metadata(self) -> Metadata:
        return Metadata(self.lua, self.values)


class _Answer(LocalReplyModifier):
    """Puts the script's headers on a local reply."""

    def __init__(self, headers: ResponseHeaderMap) -> None:
        self.headers = headers

    def modify(self, headers: ResponseHeaderMap) -> None:
        for name, value in self.headers.items():
            headers.add(name, value)


class StreamHandle:
    """One direction. The filter calls `start`, `on_data`, `on_trailers`; scripts call the rest."""

    __slots__ = (
        "filter", "manager", "script", "run", "encoding", "map", "end_stream", "state", "headers_continued",
        "buffered_body", "saw_body", "trailer_map", "call", "failed", "always_wrap", "result", "result_kind", "keys",
        "_headers", "_trailers", "_body", "_public_key",
    )  # fmt: skip

    def __init__(
        self, owner: LuaFilter, script: Script, function: Any, header_map: HeaderMap, end_stream: bool, encoding: bool
    ) -> None:
        self.filter = owner
        self.manager: FilterManager = owner.manager
        self.script = script
        self.encoding = encoding
        self.map = header_map
        self.end_stream = end_stream
        self.state = RUNNING
        # The headers have gone on: they can be changed no more, nor can the script answer.
        self.headers_continued = False
        self.buffered_body = False
        self.saw_body = False
        self.trailer_map: HeaderMap | None = None
        self.call: HttpCall | None = None
        # The script raised an error, or the stream is gone: it is not resumed again.
        self.failed = False
        self.always_wrap = False
        # What the method that waits will give, and the class of that object.
        self.result: object = None
        self.result_kind = ""
        self.keys: KeyStore | None = None
        self._headers: Headers | None = None
        self._trailers: Headers | None = None
        self._body: Body | None = None
        self._public_key: PublicKey | None = None
        self.run = script.new_run(function, self)

    # --- the filter's side ---

    def resume(self, result: object = None, kind: str = "") -> None:
        """Start the script, or go on with `result` of the method that waits."""
        self.state = RUNNING
        self.result = result
        self.result_kind = kind
        owner = self.filter
        problem = self.script.advance(self.run)
        # Objects do not outlive a wait.
        self._headers = self._trailers = self._body = None
        if self.state == RUNNING and problem is None and self.script.suspended:
            problem = "script performed an unexpected yield"
        if problem is not None:
            self.failed = True
            owner.script_error(problem)

    def take(self) -> object:
        """What the method that waited gives."""
        result = self.result
        self.result = None
        link = self.script.links.get(self.result_kind)
        return (result, link) if link is not None and result is not None else result

    def destroy(self) -> None:
        """The stream is over."""
        self.failed = True
        if self.call is not None:
            self.call.cancel()
            self.call = None
        self._headers = self._trailers = self._body = None
        # Lua frees its side when it collects; the stream must not wait for that.
        del self.filter, self.manager, self.map, self.run

    def buffered(self) -> bytes | None:
        manager = self.manager
        return manager.encoding_buffer() if self.encoding else manager.decoding_buffer()

    def add_data(self, data: bytes) -> None:
        if self.encoding:
            self.manager.add_encoded_data(self.filter, data, False)
        else:
            self.manager.add_decoded_data(self.filter, data, False)

    def on_headers_modified(self) -> None:
        if not self.encoding and self.filter.settings.clear_route_cache:
            self.manager.clear_route_cache()

    def whole_body(self) -> Body | None:
        """The body that has come whole; None where there is none and the script does not insist."""
        data = self.buffered()
        if data is None:
            if not self.always_wrap:
                return None
            self.add_data(b"")
            data = b""
        body = self._body
        if body is None:
            body = self._body = WholeBody(data, self)
        return body

    # --- the script's side: the message ---

    def headers(self) -> Headers:
        if self._headers is None:
            self._headers = Headers(self.map, self)
        return self._headers

    def request_headers(self) -> Headers | None:
        headers = self.manager.request_headers
        return None if headers is None else Headers(headers, None)

    def body(self, always_wrap: object = None) -> object:
        if always_wrap is not None and not isinstance(always_wrap, bool):
            raise LuaFault(f"bad argument #1 to 'body' (boolean expected, got {lua_type(always_wrap)})")
        self.always_wrap = bool(always_wrap)
        if self.end_stream:
            if not self.buffered_body and self.saw_body:
                raise LuaFault("cannot call body() after body has been streamed")
            return self.whole_body()
        if self.saw_body:
            raise LuaFault("cannot call body() after body streaming has started")
        self.state = WAIT_FOR_BODY
        self.buffered_body = True
        return WAIT

    def begin_chunks(self) -> None:
        if self.saw_body:
            raise LuaFault("cannot call bodyChunks after body processing has begun")

    def next_chunk(self) -> object:
        if self.end_stream:
            return None
        self.state = WAIT_FOR_CHUNK
        return WAIT

    def trailers(self) -> object:
        if self.trailer_map is not None:
            return self.trailer_headers()
        if self.end_stream:
            return None
        self.state = WAIT_FOR_TRAILERS
        return WAIT

    def trailer_headers(self) -> Headers:
        assert self.trailer_map is not None
        if self._trailers is None:
            self._trailers = Headers(self.trailer_map, None)
        return self._trailers

    # --- answers and calls ---

    def respond(self, table: object, body: object = None) -> object:
        if self.headers_continued:
            raise LuaFault("respond() cannot be called if headers have been continued")
        headers = ResponseHeaderMap()
        fill_headers(headers, table, "respond")
        status = headers.status
        if not 200 <= status < 600:
            raise LuaFault(":status must be between 200-599")
        if self.encoding:
            raise LuaFault("respond not currently supported in the response path")
        text = b"" if body is None else want_text(body, 2, "respond")
        if body is not None:
            headers.set(CONTENT_LENGTH, b"%d" % len(text))
        self.state = RESPONDED
        self.manager.send_local_reply_full(
            status, text.decode("utf-8", "surrogateescape"), _Answer(headers), -1, "lua_response"
        )
        return WAIT

    def http_call(
        self, cluster: object, headers: object, body: object = None, options: object = None, flag: object = None
    ) -> object:
        return self.filter.http_call(self, cluster, headers, body, options, flag)

    # --- metadata, routes, facts ---

    def metadata(self) -> Metadata:
        metadata: dict[str, dict[str, object]] = getattr(self.manager.route(), "metadata", {})
        values = metadata.get(self.filter.config_name)
        return Metadata(self.script.lua, metadata.get(CANONICAL_NAME, {}) if values is None else values)

    def filter_context(self) -> Metadata:
        return Metadata(self.script.lua, self.filter.context_values())

    def virtual_host(self) -> RoutePart:
        host = getattr(self.manager.route(), "virtual_host", None)
        metadata: dict[str, dict[str, object]] = getattr(host, "metadata", {})
        return RoutePart(self.script.lua, metadata.get(self.filter.config_name, {}))

    def route(self) -> RoutePart:
        metadata: dict[str, dict[str, object]] = getattr(self.manager.route(), "metadata", {})
        return RoutePart(self.script.lua, metadata.get(self.filter.config_name, {}))

    def stream_info(self) -> StreamFacts:
        return StreamFacts(self.script.lua, self.manager.stream_info)

    def connection_stream_info(self) -> ConnectionFacts:
        return ConnectionFacts(self.script.lua, self.manager.connection.info)

    def connection(self) -> ConnectionFacts:
        return ConnectionFacts(self.script.lua, self.manager.connection.info)

    def stats(self) -> StatsFacts:
        return self.filter.settings.stats

    def set_upstream_override_host(self, host: object, strict: object = None) -> None:
        text = want_text(host, 1, "setUpstreamOverrideHost").decode("utf-8", "replace")
        if not _is_ip_authority(text):
            raise LuaFault("host is not a valid IP address")
        info = self.manager.stream_info
        if info.filter_state is None:
            info.filter_state = {}
        info.filter_state[OVERRIDE_HOST_KEY] = StringState(("!" if strict is True else "") + text)

    def clear_route_cache(self) -> None:
        if not self.encoding:
            self.manager.clear_route_cache()

    # --- crypto, encodings, time ---

    def import_public_key(self, der: object, length: object) -> PublicKey:
        text = want_text(der, 1, "importPublicKey")
        key = text[: int(want_number(length, 2, "importPublicKey"))]
        if self._public_key is None:
            if self.keys is None:
                self.keys = KeyStore()
            self._public_key = PublicKey(key if self.keys.add(key) else b"")
        return self._public_key

    def verify_signature(
        self, hash_name: object, key: object, signature: object, signature_length: object, text: object, length: object
    ) -> object:
        name = want_text(hash_name, 1, "verifySignature")
        known = None if self.keys is None else self.keys.find(want_text(key, 2, "verifySignature"))
        if known is None:
            raise LuaFault("invalid public key")
        data = want_text(text, 5, "verifySignature")[: int(want_number(length, 6, "verifySignature"))]
        signed = want_text(signature, 3, "verifySignature")[: int(want_number(signature_length, 4, "verifySignature"))]
        problem = verify_signature(name, known, signed, data)
        return (False, problem.encode()) if problem else True

    def base64_escape(self, value: object) -> bytes:
        return base64.b64encode(want_text(value, 1, "base64Escape"))

    def base64_decode(self, value: object) -> bytes | None:
        text = want_text(value, 1, "base64Decode").rstrip(b"=")
        try:
            return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except binascii.Error:
            return None

    def timestamp(self, resolution: object = None) -> int:
        if _resolution(resolution, "timestamp") != b"0":
            raise LuaFault("timestamp format must be MILLISECOND.")
        return time_ns() // 1_000_000

    def timestamp_string(self, resolution: object = None) -> bytes:
        unit = _resolution(resolution, "timestampString")
        if unit == b"0":
            return number_text(time_ns() // 1_000_000)
        if unit == b"1":
            return number_text(time_ns() // 1000)
        raise LuaFault("timestamp format must be MILLISECOND or MICROSECOND.")

    # --- logs ---

    def log_trace(self, text: object) -> None:
        _write(_TRACE, text)

    def log_debug(self, text: object) -> None:
        _write(logging.DEBUG, text)

    def log_info(self, text: object) -> None:
        _write(logging.INFO, text)

    def log_warn(self, text: object) -> None:
        _write(logging.WARNING, text)

    def log_err(self, text: object) -> None:
        _write(logging.ERROR, text)

    def log_critical(self, text: object) -> None:
        _write(logging.CRITICAL, text)


class WholeBody(Body):
    """The buffered body: a new content goes into the stream's buffer at once."""

    __slots__ = ("handle",)

    def __init__(self, data: bytes, handle: StreamHandle) -> None:
        super().__init__(data, handle.map)
        self.handle = handle

    def set_bytes(self, value: object) -> int:
        length = super().set_bytes(value)
        manager = self.handle.manager
        if self.handle.encoding:
            manager.modify_encoding_buffer(self.data)
        else:
            manager.modify_decoding_buffer(self.data)
        return length


def _is_ip_authority(text: str) -> bool:
    """An address, with or without a port."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _resolution(value: object, method: str) -> bytes:
    return b"0" if value is None else want_text(value, 1, method) or b"0"


def _write(level: int, text: object) -> None:
    if _log.isEnabledFor(level):
        _log.log(level, "script log: %s", want_text(text, 1, "log").decode("utf-8", "backslashreplace"))
