"""envoy.filters.listener.tls_inspector: tells TLS from plain text, and reads server name and ALPN from the ClientHello.

Source: RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3, RFC 7301 section 3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.extensions.filters.listener.tls_fingerprint import HelloFacts, ja3, ja4
from outrider.network.filter import CONTINUE, STOP
from outrider.network.listener_filter import (
    LISTENER_FILTERS,
    ListenerFilter,
    ListenerFilterChain,
    ListenerFilterFactory,
)
from outrider.stats.metrics import UNIT_BYTES, Counter, Histogram
from outrider.stats.store import Scope

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

MAX_CLIENT_HELLO: Final = 64 * 1024
_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_ALPN: Final = 16


class NotTls(Exception):
    """The bytes are no TLS ClientHello."""


class NeedMore(Exception):
    """The ClientHello is not complete."""


class ClientHello:
    """What is read from a ClientHello."""

    __slots__ = ("server_name", "protocols", "facts")

    def __init__(self) -> None:
        # Lower case; empty when there is none.
        self.server_name: str = ""
        self.protocols: list[str] = []
        # For fingerprints.
        self.facts: HelloFacts | None = None


def parse_client_hello(data: bytes) -> ClientHello:
    """Raises NeedMore, or NotTls as soon as that is certain."""
    message = bytearray()
    position = 0
    needed = 4
    while len(message) < needed:
        record = data[position : position + 5]
        # Judge a record's header by as much of it as there is.
        if record and record[0] != _HANDSHAKE:
            raise NotTls
        if len(record) > 1 and record[1] != 3:
            raise NotTls
        if len(record) < 5:
            raise NeedMore
        length = record[3] << 8 | record[4]
        if length == 0 or length > 16384 + 256:
            raise NotTls
        message += data[position + 5 : position + 5 + length]
        if len(message) >= 1 and message[0] != _CLIENT_HELLO:
            raise NotTls
        if len(message) >= 4:
            needed = 4 + int.from_bytes(message[1:4], "big")
            if needed > MAX_CLIENT_HELLO:
                raise NotTls
        if len(message) >= needed:
            break
        if position + 5 + length > len(data):
            raise NeedMore
        position += 5 + length
    return _parse_body(bytes(message[4:needed]))


def _parse_body(body: bytes) -> ClientHello:
    hello = ClientHello()
    # legacy_version, random
    position = 34
    if len(body) < position + 1:
        raise NotTls
    position += 1 + body[position]
    ciphers = body[position + 2 : position + 2 + _number(body, position)]
    facts = HelloFacts(_number(body, 0), ciphers, hello.protocols, False)
    hello.facts = facts
    position += 2 + _number(body, position)
    if position >= len(body):
        raise NotTls
    position += 1 + body[position]
    if position == len(body):
        # TLS 1.2 without extensions.
        return hello
    end = position + 2 + _number(body, position)
    if end != len(body):
        raise NotTls
    position += 2
    while position < end:
        kind = _number(body, position)
        size = _number(body, position + 2)
        start = position + 4
        position = start + size
        if position > end:
            raise NotTls
        content = body[start:position]
        facts.add(kind, content)
        if kind == _SERVER_NAME:
            hello.server_name = _server_name(content)
            facts.named = True
        elif kind == _ALPN:
            hello.protocols = facts.protocols = _protocols(content)
    return hello


def _number(body: bytes, position: int) -> int:
    if position + 2 > len(body):
        raise NotTls
    return body[position] << 8 | body[position + 1]


def _server_name(content: bytes) -> str:
    # A list of one host name, as RFC 6066 has it in practice.
    if len(content) < 5 or content[2] != 0:
        return ""
    size = _number(content, 3)
    if 5 + size > len(content):
        raise NotTls
    return content[5 : 5 + size].decode("latin-1").lower()


def _protocols(content: bytes) -> list[str]:
    found: list[str] = []
    position = 2
    while position < len(content):
        size = content[position]
        position += 1
        if size == 0 or position + size > len(content):
            raise NotTls
        found.append(content[position : position + size].decode("latin-1"))
        position += size
    return found


class TlsInspectorStats:
    """`tls_inspector.*`"""

    __slots__ = (
        "client_hello_too_large", "tls_found", "tls_not_found", "alpn_found", "alpn_not_found", "sni_found",
        "sni_not_found", "bytes_processed",
    )  # fmt: skip

    def __init__(self, scope: Scope) -> None:
        scope = scope.scope("tls_inspector")
        self.client_hello_too_large: Counter = scope.counter("client_hello_too_large")
        self.tls_found: Counter = scope.counter("tls_found")
        self.tls_not_found: Counter = scope.counter("tls_not_found")
        self.alpn_found: Counter = scope.counter("alpn_found")
        self.alpn_not_found: Counter = scope.counter("alpn_not_found")
        self.sni_found: Counter = scope.counter("sni_found")
        self.sni_not_found: Counter = scope.counter("sni_not_found")
        self.bytes_processed: Histogram = scope.histogram("bytes_processed", UNIT_BYTES)


class TlsInspector(ListenerFilter):
    """Waits until it is certain whether a ClientHello comes, and has read it."""

    __slots__ = ("stats", "callbacks", "max_size", "with_ja3", "with_ja4")

    def __init__(
        self, stats: TlsInspectorStats, max_size: int, with_ja3: bool = False, with_ja4: bool = False
    ) -> None:
        self.with_ja3 = with_ja3
        self.with_ja4 = with_ja4
        self.stats = stats
        self.max_size = max_size
        self.callbacks: ListenerFilterChain | None = None

    def max_read_bytes(self) -> int:
        return self.max_size

    def on_accept(self, callbacks: ListenerFilterChain) -> int:
        self.callbacks = callbacks
        return STOP

    def on_data(self, data: bytes) -> int:
        stats = self.stats
        try:
            hello = parse_client_hello(data)
        except NeedMore:
            if len(data) >= self.max_size:
                stats.client_hello_too_large.inc()
            return STOP
        except NotTls:
            stats.tls_not_found.inc()
            stats.bytes_processed.record(len(data))
            return CONTINUE
        assert self.callbacks is not None
        info = self.callbacks.info
        info.transport_protocol = "tls"
        if hello.facts is not None:
            if self.with_ja3:
                info.ja3_hash = ja3(hello.facts)
            if self.with_ja4:
                info.ja4_hash = ja4(hello.facts)
        stats.tls_found.inc()
        if hello.protocols:
            info.application_protocols = hello.protocols
            stats.alpn_found.inc()
        else:
            stats.alpn_not_found.inc()
        if hello.server_name:
            info.requested_server_name = hello.server_name
            stats.sni_found.inc()
        else:
            stats.sni_not_found.inc()
        stats.bytes_processed.record(len(data))
        return CONTINUE


class TlsInspectorFactory(ListenerFilterFactory):
    def __init__(self, stats: TlsInspectorStats, max_size: int, with_ja3: bool, with_ja4: bool) -> None:
        self.stats = stats
        self.max_size = max_size
        self.with_ja3 = with_ja3
        self.with_ja4 = with_ja4

    def create(self) -> ListenerFilter:
        return TlsInspector(self.stats, self.max_size, self.with_ja3, self.with_ja4)


@LISTENER_FILTERS.register(
    "envoy.filters.listener.tls_inspector",
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    "envoy.listener.tls_inspector",
)
def create(config: View, context: FactoryContext) -> ListenerFilterFactory:
    # Only how Envoy grows its peek buffer; ours grows by itself.
    config.accept("initial_read_buffer_size")
    size = config.integer("max_client_hello_size", MAX_CLIENT_HELLO)
    with_ja3 = config.flag("enable_ja3_fingerprinting")
    with_ja4 = config.flag("enable_ja4_fingerprinting")
    return TlsInspectorFactory(TlsInspectorStats(context.root_scope), size, with_ja3, with_ja4)
