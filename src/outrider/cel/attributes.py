"""Attributes of a stream: what expressions can ask for.

Source: Envoy documentation, "Attributes". An attribute that is not there (yet) is left out, so that asking for it is an
error of the expression.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.cel.times import Duration, Timestamp
from outrider.data.certificate import certificate_facts
from outrider.data.filter_state import FilterStateObject
from outrider.data.grpc_status import from_http_status, parse_status
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import GRPC_STATUS
from outrider.data.stream_info import PROTOCOL_TEXT, ConnectionInfo, SslInfo, StreamInfo

if TYPE_CHECKING:
    from outrider.data.address import Address

ROOTS: Final = (
    "request",
    "response",
    "source",
    "destination",
    "connection",
    "upstream",
    "metadata",
    "filter_state",
    "upstream_filter_state",
    "xds",
)
_DIRECTIONS: Final = {"UNSPECIFIED": 0, "INBOUND": 1, "OUTBOUND": 2}
_TLS_FACTS: Final = (
    "tls_version",
    "subject_local_certificate",
    "subject_peer_certificate",
    "dns_san_local_certificate",
    "dns_san_peer_certificate",
    "uri_san_local_certificate",
    "uri_san_peer_certificate",
    "sha256_peer_certificate_digest",
)
NAMES: Final[dict[str, tuple[str, ...]]] = {
    "request": (
        "path", "url_path", "host", "scheme", "method", "headers", "referer", "useragent", "time", "id", "protocol",
        "query", "duration", "size", "total_size",
    ),
    "response": (
        "code", "code_details", "flags", "grpc_status", "headers", "trailers", "size", "total_size", "backend_latency",
    ),
    "source": ("address", "port"),
    "destination": ("address", "port"),
    "connection": (
        "id", "mtls", "requested_server_name", "termination_details", "transport_failure_reason", *_TLS_FACTS,
    ),
    "upstream": (
        "address", "port", "local_address", "transport_failure_reason", "request_attempt_count",
        "cx_pool_ready_duration", *_TLS_FACTS,
    ),
    "xds": (
        "node", "cluster_name", "cluster_metadata", "listener_direction", "listener_metadata", "route_name",
        "route_metadata", "virtual_host_name", "virtual_host_metadata", "upstream_host_metadata", "filter_chain_name",
        "upstream_host_locality_metadata",
    ),
}  # fmt: skip
"""The attributes of each root that has fixed ones."""

# `xds.node`: what this process is, the same for all its streams.
_NODE: dict[str, object] = {}


def describe_node(node: dict[str, object]) -> None:
    """Say what `xds.node` is in this process."""
    _NODE.clear()
    _NODE.update(node)


class Attributes:
    """Where the attributes of one stream are found."""

    __slots__ = ("info", "request_headers", "response_headers", "response_trailers")

    def __init__(
        self,
        info: StreamInfo,
        request_headers: RequestHeaderMap | None = None,
        response_headers: ResponseHeaderMap | None = None,
        response_trailers: HeaderMap | None = None,
    ) -> None:
        self.info = info
        self.request_headers = request_headers
        self.response_headers = response_headers
        self.response_trailers = response_trailers

    def activation(self, wanted: dict[str, tuple[str, ...]]) -> dict[str, object]:
        """The roots that an expression names, each with the attributes that it names there (all for an empty tuple)."""
        found: dict[str, object] = {}
        for root, names in wanted.items():
            if root == "metadata":
                found[root] = {"filter_metadata": self.info.metadata or {}}
            elif root == "filter_state":
                found[root] = _states(self.info.filter_state)
            elif root == "upstream_filter_state":
                upstream = self.info.upstream
                found[root] = _states(None if upstream is None else upstream.filter_state)
            else:
                values: dict[str, object] = {}
                for name in names or NAMES[root]:
                    value = self.get(root, name)
                    if value is not None:
                        values[name] = value
                found[root] = values
        return found

    def get(self, root: str, name: str) -> object:
        """One attribute of a root of NAMES; None where it is not there."""
        if root == "request":
            return self._request(name)
        if root == "response":
            return self._response(name)
        if root == "connection":
            return _connection(self.info.connection, name)
        if root == "source":
            return _address(self.info.connection.remote_address, name)
        if root == "destination":
            return _address(self.info.connection.local_address, name)
        if root == "upstream":
            return self._upstream(name)
        return self._xds(name)

    def _request(self, name: str) -> object:
        headers, info = self.request_headers, self.info
        if name == "size":
            return info.bytes_received
        if name == "total_size":
            return info.bytes_received + (0 if headers is None else headers.byte_size())
        if name == "protocol":
            return PROTOCOL_TEXT[info.protocol] if info.protocol >= 0 else None
        if name == "time":
            return Timestamp(info.start_time_ns)
        if name == "duration":
            return Duration(info.end_ns - info.start_mono_ns) if info.end_ns else None
        if headers is None:
            return None
        if name == "headers":
            return header_dict(headers)
        if name == "path":
            return _text(headers.path)
        if name == "url_path":
            return _text(headers.path.partition(b"?")[0])
        if name == "query":
            return _text(headers.path.partition(b"?")[2])
        if name == "host":
            return _text(headers.authority)
        if name == "scheme":
            return _text(headers.scheme)
        if name == "method":
            return _text(headers.method)
        field = {"referer": b"referer", "useragent": b"user-agent", "id": b"x-request-id"}.get(name)
        value = None if field is None else headers.single.get(field)
        return None if value is None else _text(value)

    def _response(self, name: str) -> object:
        headers, info = self.response_headers, self.info
        if name == "code":
            return info.response_code or (None if headers is None else headers.status)
        if name == "code_details":
            return info.response_code_details or None
        if name == "flags":
            return info.response_flags
        if name == "size":
            return info.bytes_sent
        if name == "total_size":
            trailers = self.response_trailers
            return (
                info.bytes_sent
                + (0 if headers is None else headers.byte_size())
                + (0 if trailers is None else trailers.byte_size())
            )
        if name == "headers":
            return {} if headers is None else header_dict(headers)
        if name == "trailers":
            return {} if self.response_trailers is None else header_dict(self.response_trailers)
        if name == "grpc_status":
            return self._grpc_status()
        if name == "backend_latency":
            upstream = info.upstream
            if upstream is None or not upstream.last_upstream_rx_ns or not upstream.first_upstream_tx_ns:
                return None
            return Duration(upstream.last_upstream_rx_ns - upstream.first_upstream_tx_ns)
        return None

    def _grpc_status(self) -> int | None:
        """Of trailers, headers, or what the HTTP status means; also for what is no gRPC, as in Envoy."""
        for fields in (self.response_trailers, self.response_headers):
            value = None if fields is None else fields.get(GRPC_STATUS)
            if value is not None:
                return parse_status(value)
        code = self.info.response_code
        return from_http_status(code) if code else None

    def _upstream(self, name: str) -> object:
        upstream = self.info.upstream
        if upstream is None:
            return None
        if name in ("address", "port"):
            return None if upstream.host_address is None else _address(upstream.host_address, name)
        if name == "local_address":
            return None if upstream.local_address is None else upstream.local_address.text
        if name == "transport_failure_reason":
            return upstream.transport_failure_reason
        if name == "request_attempt_count":
            return self.info.attempt_count
        if name == "cx_pool_ready_duration":
            if not upstream.pool_ready_ns:
                return None
            return Duration(upstream.pool_ready_ns - self.info.start_mono_ns)
        return _tls(upstream.ssl, name)

    def _xds(self, name: str) -> object:
        info = self.info
        if name == "node":
            return _NODE
        if name == "cluster_name":
            return info.cluster_name or None
        if name == "cluster_metadata":
            return _metadata(info.cluster)
        if name == "route_name":
            return info.route_name or None
        if name == "route_metadata":
            return _metadata(info.route)
        if name == "virtual_host_name":
            return info.virtual_host_name or None
        if name == "virtual_host_metadata":
            return _metadata(getattr(info.route, "virtual_host", None))
        if name == "upstream_host_metadata":
            return _metadata(None if info.upstream is None else info.upstream.host)
        if name == "upstream_host_locality_metadata":
            host = None if info.upstream is None else info.upstream.host
            found = getattr(host, "locality_metadata", None)
            return {"filter_metadata": found} if found else None
        listener = info.connection.listener_info
        if name == "listener_direction":
            return _DIRECTIONS.get(getattr(listener, "direction", ""), 0)
        if name == "listener_metadata":
            return _metadata(listener)
        if name == "filter_chain_name":
            return info.connection.filter_chain_name
        return None


def header_dict(headers: HeaderMap) -> dict[str, str]:
    """Values of a name joined by commas."""
    joined: dict[str, str] = {}
    for name, value in headers.all_items():
        key, text = name.decode("latin-1"), _text(value)
        joined[key] = f"{joined[key]},{text}" if key in joined else text
    return joined


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _address(address: Address, name: str) -> object:
    if name == "address":
        return address.text
    return address.port if address.host else None


def _metadata(owner: object) -> dict[str, object] | None:
    return None if owner is None else {"filter_metadata": getattr(owner, "metadata", None) or {}}


def _states(state: dict[str, object] | None) -> dict[str, object]:
    """What can be serialized, as bytes."""
    found: dict[str, object] = {}
    for key, held in (state or {}).items():
        text = held.serialize() if isinstance(held, FilterStateObject) else None
        if text is not None:
            found[key] = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return found


def _connection(info: ConnectionInfo, name: str) -> object:
    if name == "id":
        return info.connection_id
    if name == "mtls":
        return info.ssl is not None and info.ssl.peer_presented()
    if name == "requested_server_name":
        return info.requested_server_name
    if name == "termination_details":
        return info.termination_details or None
    if name == "transport_failure_reason":
        return info.transport_failure_reason or None
    return _tls(info.ssl, name)


def _tls(ssl: SslInfo | None, name: str) -> object:
    if ssl is None:
        return None
    if name == "tls_version":
        return ssl.tls_version()
    local = name.endswith("local_certificate")
    facts = certificate_facts(ssl.local_certificate_der() if local else ssl.peer_certificate_der())
    if facts is None:
        return None
    if name.startswith("subject"):
        return facts.subject()
    if name.startswith("sha256"):
        return facts.fingerprint_sha256()
    names = facts.uri_sans() if name.startswith("uri") else facts.dns_sans()
    return names[0] if names else None
