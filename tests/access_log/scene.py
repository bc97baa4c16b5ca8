"""Streams to format, with every fact in place."""

from __future__ import annotations

from outrider.access_log.context import DOWNSTREAM_END, FormatContext
from outrider.data.address import Address, ip_address
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.stream_info import HTTP11, ConnectionInfo, SslInfo, StreamInfo, UpstreamInfo

# 2026-11-23T00:49:40.746631Z
START_NS = 1_795_394_980_746_631_000
START_MONO_NS = 5_000_000_000
MS = 1_000_000


class FakeCluster:
    def __init__(self, name: str, observability_name: str = "", metadata: dict[str, object] | None = None) -> None:
        self.name = name
        self.observability_name = observability_name or name
        self.metadata = metadata or {}


class FakeHost:
    def __init__(self, address: Address, hostname: str = "", metadata: dict[str, object] | None = None) -> None:
        self.address = address
        self.hostname = hostname
        self.metadata = metadata or {}


class FakeOwner:
    """A route, virtual host, listener or filter chain, as far as formatters look at it."""

    def __init__(self, metadata: dict[str, object], virtual_host: FakeOwner | None = None) -> None:
        self.metadata = metadata
        self.virtual_host = virtual_host


class FakeSsl(SslInfo):
    def __init__(self, peer: list[bytes] | None = None, local: bytes = b"") -> None:
        self.peer = peer or []
        self.local = local

    def sni(self) -> str:
        return "srv.example.com"

    def tls_version(self) -> str:
        return "TLSv1.3"

    def cipher(self) -> str:
        return "TLS_AES_256_GCM_SHA384"

    def group(self) -> str:
        return "X25519"

    def session_id(self) -> str:
        return "df12"

    def peer_certificate_der(self) -> bytes:
        return self.peer[0] if self.peer else b""

    def peer_chain_der(self) -> list[bytes]:
        return self.peer

    def local_certificate_der(self) -> bytes:
        return self.local


def connection() -> ConnectionInfo:
    return ConnectionInfo(7, ip_address("127.0.0.1", 10000), ip_address("10.1.2.3", 43948))


def request_headers(path: bytes = b"/p", *fields: tuple[bytes, bytes]) -> RequestHeaderMap:
    headers = RequestHeaderMap(method=b"GET", path=path, authority=b"h.com:80", scheme=b"http")
    for name, value in fields:
        headers.add(name, value)
    return headers


def upstream(host: FakeHost) -> UpstreamInfo:
    info = UpstreamInfo()
    info.host = host
    info.host_address = host.address
    info.host_name = host.hostname
    info.attempted_hosts = [host]
    info.attempted_connection_ids = [3]
    info.connection_id = 3
    info.local_address = ip_address("127.0.0.1", 52668)
    info.remote_address = host.address
    info.protocol = HTTP11
    info.wire_bytes_sent = 178
    info.wire_bytes_received = 309
    info.header_bytes_sent = 150
    info.header_bytes_received = 106
    info.connect_start_ns = START_MONO_NS + 559_000
    info.connect_end_ns = START_MONO_NS + 635_000
    info.pool_ready_ns = START_MONO_NS + 640_000
    info.first_upstream_tx_ns = START_MONO_NS + 683_000
    info.last_upstream_tx_ns = START_MONO_NS + 683_000
    info.first_upstream_rx_ns = START_MONO_NS + 1_905_000
    info.first_rx_body_ns = START_MONO_NS + 2_007_000
    info.last_upstream_rx_ns = START_MONO_NS + 2_013_000
    return info


def stream_info() -> StreamInfo:
    info = StreamInfo(connection(), START_NS, START_MONO_NS, HTTP11)
    info.request_headers_end_ns = START_MONO_NS + 77_000
    info.last_downstream_rx_ns = START_MONO_NS + 79_000
    info.first_downstream_tx_ns = START_MONO_NS + 1_997_000
    info.last_downstream_tx_ns = START_MONO_NS + 2_060_000
    info.end_ns = START_MONO_NS + 2_070_000
    info.response_code = 200
    return info


def proxied() -> FormatContext:
    """GET /p, answered by an upstream."""
    info = stream_info()
    info.response_code_details = "via_upstream"
    info.bytes_received = 4
    info.bytes_sent = 180
    info.route_name = "rn"
    info.attempt_count = 1
    info.cluster = FakeCluster("up", "alt")
    info.cluster_name = "up"
    info.stream_id = "8275d158-2e1c-47e9-96c3-cf798f8f24a9"
    info.upstream = upstream(FakeHost(ip_address("127.0.0.1", 46189), "my.host:99"))
    response = ResponseHeaderMap({b"content-length": b"180", b"x-envoy-upstream-service-time": b"1"}, status=200)
    response.add(b"x-resp", b"r1")
    response.add(b"x-resp", b"r2")
    request = request_headers(b"/p", (b"user-agent", b"curl/8"), (b"x-request-id", info.stream_id.encode()))
    return FormatContext(info, request, response, None, b"", DOWNSTREAM_END)


def local_answer() -> FormatContext:
    """A request that never left the proxy."""
    info = stream_info()
    return FormatContext(info, request_headers(), ResponseHeaderMap(status=200), None, b"", DOWNSTREAM_END)


def tcp_session() -> FormatContext:
    """No headers at all."""
    return FormatContext(StreamInfo(connection(), START_NS, START_MONO_NS, -1))


def trailers(**fields: bytes) -> HeaderMap:
    return HeaderMap({name.replace("_", "-").encode(): value for name, value in fields.items()})
