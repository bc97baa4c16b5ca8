"""envoy.filters.listener.http_inspector: tells which HTTP version a plain-text connection speaks, for chain matching.

HTTP/1 is known by its request line (RFC 9112 section 3), HTTP/2 by its preface (RFC 9113 section 3.4).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from outrider.network.filter import CONTINUE, STOP
from outrider.network.listener_filter import (
    LISTENER_FILTERS,
    ListenerFilter,
    ListenerFilterChain,
    ListenerFilterFactory,
)
from outrider.stats.metrics import Counter
from outrider.stats.store import Scope

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_INSPECT_SIZE: Final = 65536
_REQUEST_LINE: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [^ \r\n]+ HTTP/1\.([01])\Z")
_TOKEN_START: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+( |\Z)")


class HttpInspectorStats:
    """`http_inspector.*`"""

    __slots__ = ("read_error", "parse_error", "http10_found", "http11_found", "http2_found", "http_not_found")

    def __init__(self, scope: Scope) -> None:
        scope = scope.scope("http_inspector")
        self.read_error: Counter = scope.counter("read_error")
        self.parse_error: Counter = scope.counter("parse_error")
        self.http10_found: Counter = scope.counter("http10_found")
        self.http11_found: Counter = scope.counter("http11_found")
        self.http2_found: Counter = scope.counter("http2_found")
        self.http_not_found: Counter = scope.counter("http_not_found")


class HttpInspector(ListenerFilter):
    """Waits for a request line, or for certainty that none comes."""

    __slots__ = ("stats", "callbacks")

    def __init__(self, stats: HttpInspectorStats) -> None:
        self.stats = stats
        self.callbacks: ListenerFilterChain | None = None

    def max_read_bytes(self) -> int:
        return MAX_INSPECT_SIZE

    def on_accept(self, callbacks: ListenerFilterChain) -> int:
        self.callbacks = callbacks
        # Inside TLS there is nothing to see.
        return CONTINUE if callbacks.info.transport_protocol not in ("", "raw_buffer") else STOP

    def on_data(self, data: bytes) -> int:
        assert self.callbacks is not None
        stats = self.stats
        info = self.callbacks.info
        if data.startswith(PREFACE):
            stats.http2_found.inc()
            info.application_protocols = ["h2c"]
            return CONTINUE
        if PREFACE.startswith(data):
            return STOP
        line, found, _ = data.partition(b"\n")
        if not found:
            if len(data) >= MAX_INSPECT_SIZE or _TOKEN_START.match(data) is None:
                stats.http_not_found.inc()
                return CONTINUE
            return STOP
        match = _REQUEST_LINE.match(line.rstrip(b"\r"))
        if match is None:
            stats.http_not_found.inc()
        elif match.group(1) == b"1":
            stats.http11_found.inc()
            info.application_protocols = ["http/1.1"]
        else:
            stats.http10_found.inc()
            info.application_protocols = ["http/1.0"]
        return CONTINUE


class HttpInspectorFactory(ListenerFilterFactory):
    def __init__(self, stats: HttpInspectorStats) -> None:
        self.stats = stats

    def create(self) -> ListenerFilter:
        return HttpInspector(self.stats)


@LISTENER_FILTERS.register(
    "envoy.filters.listener.http_inspector",
    "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
    "envoy.listener.http_inspector",
)
def create(config: View, context: FactoryContext) -> ListenerFilterFactory:
    return HttpInspectorFactory(HttpInspectorStats(context.root_scope))
