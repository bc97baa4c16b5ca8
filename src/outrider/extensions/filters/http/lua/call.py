"""`httpCall`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_LENGTH, CONTENT_TYPE
from outrider.extensions.filters.http.lua.values import LuaFault, fill_headers, lua_type, want_number, want_text
from outrider.router.async_client import AsyncCall, AsyncCallbacks, AsyncClient

if TYPE_CHECKING:
    from outrider.extensions.filters.http.lua.handle import StreamHandle

# Bytes of a response that are taken.
_LIMIT: Final = 16 << 20
_OPTIONS: Final = frozenset(
    (b"asynchronous", b"timeout_ms", b"trace_sampled", b"return_duplicate_headers", b"send_xff")
)


class CallOptions:
    """The last arguments, in either form. Raises LuaFault."""

    __slots__ = ("timeout_ms", "asynchronous", "duplicates", "send_xff")

    def __init__(self, options: object, flag: object) -> None:
        self.timeout_ms = 0
        self.asynchronous = False
        self.duplicates = False
        self.send_xff = True
        items = getattr(options, "items", None)
        if items is None:
            if flag is not None and not isinstance(flag, bool):
                raise LuaFault("http call asynchronous flag must be 'true', 'false', or empty")
            self.timeout_ms = _timeout(options)
            self.asynchronous = flag is True
            return
        for key, value in items():
            if key not in _OPTIONS:
                shown = want_text(key, 4, "httpCall").decode("utf-8", "replace")
                raise LuaFault(f'"{shown}" is not valid key for httpCall() options')
            on = value is not None and value is not False
            if key == b"timeout_ms":
                self.timeout_ms = _timeout(value)
            elif key == b"asynchronous":
                self.asynchronous = on
            elif key == b"return_duplicate_headers":
                self.duplicates = on
            elif key == b"send_xff":
                self.send_xff = on


def _timeout(value: object) -> int:
    number = int(want_number(value, 4, "httpCall"))
    if number < 0:
        raise LuaFault("http call timeout must be >= 0")
    return number


class HttpCall(AsyncCallbacks):
    """One call, for a script that waits, or for nobody (`handle` None)."""

    def __init__(self, handle: StreamHandle | None, duplicates: bool) -> None:
        self.handle = handle
        self.duplicates = duplicates
        self.call: AsyncCall | None = None
        # The outcome came before `start` was over.
        self.starting = True
        self.outcome: object = None
        self.done = False

    def start(
        self, client: AsyncClient, cluster: str, headers: RequestHeaderMap, body: bytes, options: CallOptions
    ) -> None:
        call = AsyncCall(client, cluster, headers, body, options.timeout_ms, self, _LIMIT, None, options.send_xff)
        self.call = call
        call.start()
        self.starting = False

    def cancel(self) -> None:
        self.done = True
        if self.call is not None:
            self.call.cancel()
            self.call = None

    def on_response(self, headers: ResponseHeaderMap, body: bytes) -> None:
        if body and not headers.single:
            # Made here, as Envoy's router would have made it.
            headers.set(CONTENT_LENGTH, b"%d" % len(body))
            headers.set(CONTENT_TYPE, b"text/plain")
        self._end(headers, body)

    def on_failure(self, reason: str) -> None:
        self._end(ResponseHeaderMap(status=503), b"upstream failure")

    def _end(self, headers: ResponseHeaderMap, body: bytes) -> None:
        self.call = None
        handle = self.handle
        if self.done or handle is None:
            return
        self.done = True
        self.outcome = (_table(handle.script.lua, headers, self.duplicates), body or None)
        if not self.starting:
            handle.call = None
            handle.filter.on_call_done(handle, self.outcome)


def _table(lua: Any, headers: ResponseHeaderMap, duplicates: bool) -> object:
    table = lua.table()
    for name, value in headers.all_items():
        if duplicates and headers.multi is not None and name in headers.multi:
            values = lua.table()
            for index, each in enumerate(headers.multi[name]):
                values[index + 1] = each
            table[name] = values
        else:
            table[name] = value
    return table


def request_of(headers: object, body: object) -> tuple[RequestHeaderMap, bytes]:
    """What is sent. Raises LuaFault."""
    made = RequestHeaderMap(scheme=b"http")
    if not hasattr(headers, "items"):
        raise LuaFault(f"bad argument #2 to 'httpCall' (table expected, got {lua_type(headers)})")
    fill_headers(made, headers, "httpCall")
    if not made.path or not made.method or not made.authority:
        raise LuaFault("http call headers must include ':path', ':method', and ':authority'")
    data = b"" if body is None else want_text(body, 3, "httpCall")
    if body is not None:
        made.set(CONTENT_LENGTH, b"%d" % len(data))
    return made, data
