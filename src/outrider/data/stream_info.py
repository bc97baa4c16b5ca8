"""What is known of a connection and of a stream: filled while it runs, read by access logs, formatters and matchers."""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from outrider.data.address import Address

PROTOCOL_NONE: Final = -1
HTTP10: Final = 0
HTTP11: Final = 1
HTTP2: Final = 2
HTTP3: Final = 3
PROTOCOL_TEXT: Final[list[str]] = ["HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"]


@mypyc_attr(allow_interpreted_subclasses=True)
class SslInfo:
    """TLS facts of a connection. The network layer supplies the subclass that reads them from the TLS library."""

    def alpn(self) -> str:
        return ""

    def sni(self) -> str:
        return ""

    def tls_version(self) -> str:
        return ""

    def cipher(self) -> str:
        return ""

    def group(self) -> str:
        """Key exchange group (`X25519`)."""
        return ""

    def session_id(self) -> str:
        return ""

    def peer_presented(self) -> bool:
        return False

    def peer_validated(self) -> bool:
        return False

    def peer_certificate_der(self) -> bytes:
        return b""

    def peer_chain_der(self) -> list[bytes]:
        return []

    def local_certificate_der(self) -> bytes:
        return b""


class ConnectionInfo:
    """Facts of one downstream connection, shared by all its streams."""

    __slots__ = (
        "connection_id",
        "local_address",
        "remote_address",
        "direct_local_address",
        "direct_remote_address",
        "ssl",
        "requested_server_name",
        "ja3_hash",
        "ja4_hash",
        "transport_protocol",
        "application_protocols",
        "filter_chain_name",
        "filter_chain_info",
        "listener_name",
        "listener_info",
        "termination_details",
        "transport_failure_reason",
        "start_time_ns",
        "metadata",
        "filter_state",
        "round_trip_time_us",
        "start_mono_ns",
        "end_mono_ns",
        "handshake_start_ns",
        "handshake_end_ns",
        "local_close_reason",
        "detected_close_type",
        "protocol",
        "response_flags",
        "response_code_details",
    )

    def __init__(self, connection_id: int, local: Address, remote: Address) -> None:
        self.connection_id = connection_id
        # Restored addresses (original_dst, proxy_protocol) and those the socket really has.
        self.local_address: Address = local
        self.remote_address: Address = remote
        self.direct_local_address: Address = local
        self.direct_remote_address: Address = remote
        self.ssl: SslInfo | None = None
        self.requested_server_name: str = ""
        self.ja3_hash: str = ""
        self.ja4_hash: str = ""
        self.transport_protocol: str = ""
        self.application_protocols: list[str] = []
        self.filter_chain_name: str = ""
        self.filter_chain_info: object = None
        self.listener_name: str = ""
        self.listener_info: object = None
        self.termination_details: str = ""
        self.transport_failure_reason: str = ""
        self.start_time_ns: int = 0
        # Dynamic metadata by filter namespace, and filter state by key; None until something is stored.
        self.metadata: dict[str, dict[str, object]] | None = None
        self.filter_state: dict[str, object] | None = None
        self.round_trip_time_us: int = 0
        # Monotonic nanoseconds, 0 = not (yet): accepted, closed, TLS handshake begun and finished.
        self.start_mono_ns: int = 0
        self.end_mono_ns: int = 0
        self.handshake_start_ns: int = 0
        self.handshake_end_ns: int = 0
        # Why this side closed the connection; empty when it did not.
        self.local_close_reason: str = ""
        # "Normal", "LocalReset" or "RemoteReset".
        self.detected_close_type: str = "Normal"
        # Of the connection manager's codec, once there is one; for logs of the connection itself.
        self.protocol: int = PROTOCOL_NONE
        # What network filters have to say of the connection's end, for logs of L4 sessions.
        self.response_flags: int = 0
        self.response_code_details: str = ""

    def copy_facts(self, other: ConnectionInfo) -> None:
        """Take over everything but the addresses given to the constructor."""
        self.direct_local_address = other.direct_local_address
        self.direct_remote_address = other.direct_remote_address
        self.ssl = other.ssl
        self.requested_server_name = other.requested_server_name
        self.ja3_hash = other.ja3_hash
        self.ja4_hash = other.ja4_hash
        self.transport_protocol = other.transport_protocol
        self.application_protocols = other.application_protocols
        self.filter_chain_name = other.filter_chain_name
        self.filter_chain_info = other.filter_chain_info
        self.listener_name = other.listener_name
        self.listener_info = other.listener_info
        self.termination_details = other.termination_details
        self.transport_failure_reason = other.transport_failure_reason
        self.start_time_ns = other.start_time_ns
        self.metadata = other.metadata
        self.filter_state = other.filter_state
        self.round_trip_time_us = other.round_trip_time_us
        self.start_mono_ns = other.start_mono_ns
        self.handshake_start_ns = other.handshake_start_ns
        self.handshake_end_ns = other.handshake_end_ns


class UpstreamInfo:
    """Facts of the upstream side: the last attempt's values. Times are monotonic nanoseconds, 0 = not yet."""

    __slots__ = (
        "host",
        "host_address",
        "host_name",
        "cluster_name",
        "connection_id",
        "local_address",
        "remote_address",
        "ssl",
        "protocol",
        "transport_failure_reason",
        "detected_close_type",
        "attempted_hosts",
        "num_streams",
        "first_upstream_tx_ns",
        "last_upstream_tx_ns",
        "first_upstream_rx_ns",
        "last_upstream_rx_ns",
        "first_rx_body_ns",
        "connect_start_ns",
        "connect_end_ns",
        "tls_end_ns",
        "pool_ready_ns",
        "wire_bytes_sent",
        "wire_bytes_received",
        "header_bytes_sent",
        "header_bytes_received",
        "request_attempt_count",
        "attempted_connection_ids",
        "local_close_reason",
        "filter_state",
    )

    def __init__(self) -> None:
        self.host: object = None
        self.host_address: Address | None = None
        self.host_name: str = ""
        self.cluster_name: str = ""
        self.connection_id: int = 0
        self.local_address: Address | None = None
        self.remote_address: Address | None = None
        self.ssl: SslInfo | None = None
        self.protocol: int = PROTOCOL_NONE
        self.transport_failure_reason: str = ""
        self.detected_close_type: str = ""
        # Hosts and connections that attempts got (on_pool_ready), in order, the last one included.
        self.attempted_hosts: list[object] | None = None
        self.attempted_connection_ids: list[int] | None = None
        self.local_close_reason: str = ""
        # Filter state of the upstream connection.
        self.filter_state: dict[str, object] | None = None
        self.num_streams: int = 0
        self.first_upstream_tx_ns: int = 0
        self.last_upstream_tx_ns: int = 0
        self.first_upstream_rx_ns: int = 0
        self.last_upstream_rx_ns: int = 0
        self.first_rx_body_ns: int = 0
        self.connect_start_ns: int = 0
        self.connect_end_ns: int = 0
        self.tls_end_ns: int = 0
        self.pool_ready_ns: int = 0
        self.wire_bytes_sent: int = 0
        self.wire_bytes_received: int = 0
        self.header_bytes_sent: int = 0
        self.header_bytes_received: int = 0
        self.request_attempt_count: int = 0


class StreamInfo:
    """Facts of one HTTP stream or one L4 session. Wall time in Unix nanoseconds; the rest in monotonic nanoseconds."""

    __slots__ = (
        "connection",
        "start_time_ns",
        "start_mono_ns",
        "protocol",
        "response_code",
        "response_code_details",
        "response_flags",
        "bytes_received",
        "bytes_sent",
        "wire_bytes_received",
        "wire_bytes_sent",
        "header_bytes_received",
        "header_bytes_sent",
        "last_downstream_rx_ns",
        "first_downstream_tx_ns",
        "last_downstream_tx_ns",
        "end_ns",
        "downstream_handshake_ns",
        "upstream",
        "route",
        "route_name",
        "virtual_host_name",
        "virtual_cluster_name",
        "cluster_name",
        "attempt_count",
        "metadata",
        "filter_state",
        "health_check",
        "should_drain_connection",
        "stream_id",
        "trace_reason",
        "trace_id",
        "span_id",
        "connection_termination_details",
        "path_before_rewrite",
        "dynamic_tags",
        "retransmitted",
        "cluster",
        "custom_flags",
        "request_headers_end_ns",
        "time_points",
        "route_resolution_count",
        "route_resolution_us",
        "scheme_match_upstream",
    )

    def __init__(self, connection: ConnectionInfo, start_time_ns: int, start_mono_ns: int, protocol: int) -> None:
        self.connection = connection
        self.start_time_ns = start_time_ns
        self.start_mono_ns = start_mono_ns
        self.protocol = protocol
        self.response_code: int = 0
        # Empty means unset ("-" in the log).
        self.response_code_details: str = ""
        self.response_flags: int = 0
        # Body bytes.
        self.bytes_received: int = 0
        self.bytes_sent: int = 0
        self.wire_bytes_received: int = 0
        self.wire_bytes_sent: int = 0
        self.header_bytes_received: int = 0
        self.header_bytes_sent: int = 0
        self.last_downstream_rx_ns: int = 0
        self.first_downstream_tx_ns: int = 0
        self.last_downstream_tx_ns: int = 0
        self.end_ns: int = 0
        self.downstream_handshake_ns: int = 0
        self.upstream: UpstreamInfo | None = None
        self.route: object = None
        self.route_name: str = ""
        self.virtual_host_name: str = ""
        self.virtual_cluster_name: str = ""
        self.cluster_name: str = ""
        self.attempt_count: int = 0
        self.metadata: dict[str, dict[str, object]] | None = None
        self.filter_state: dict[str, object] | None = None
        self.health_check: bool = False
        self.should_drain_connection: bool = False
        self.stream_id: str = ""
        # Envoy's trace reason: 0 not traceable, 1 sampling, 2 service forced, 3 client forced (set by the request id).
        self.trace_reason: int = 0
        self.trace_id: str = ""
        self.span_id: str = ""
        self.connection_termination_details: str = ""
        self.path_before_rewrite: bytes = b""
        self.dynamic_tags: dict[str, str] | None = None
        self.retransmitted: int = 0
        # The chosen cluster's ClusterInfo (name, observability_name, metadata), set by the router once it is known.
        self.cluster: object = None
        # %CUSTOM_FLAGS%: set by filters, comma-separated.
        self.custom_flags: str = ""
        # When the request's header section was complete, monotonic.
        self.request_headers_end_ns: int = 0
        # Named points in time of filters (%COMMON_DURATION%), monotonic nanoseconds.
        self.time_points: dict[str, int] | None = None
        self.route_resolution_count: int = 0
        self.route_resolution_us: int = 0
        # `scheme_header_transformation.match_upstream`: the upstream transport decides `:scheme`.
        self.scheme_match_upstream: bool = False

    def own_connection(self) -> ConnectionInfo:
        """The connection's facts as this stream may change them (its client's address): a copy made once."""
        shared = self.connection
        own = ConnectionInfo(shared.connection_id, shared.local_address, shared.remote_address)
        own.copy_facts(shared)
        self.connection = own
        return own

    def set_metadata(self, namespace: str, values: dict[str, object]) -> None:
        """Merge `values` into the dynamic metadata of `namespace`."""
        if self.metadata is None:
            self.metadata = {}
        existing = self.metadata.get(namespace)
        if existing is None:
            self.metadata[namespace] = dict(values)
        else:
            existing.update(values)

    def get_metadata(self, namespace: str) -> dict[str, object] | None:
        return None if self.metadata is None else self.metadata.get(namespace)
