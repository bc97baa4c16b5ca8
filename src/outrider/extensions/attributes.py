"""Attributes of a stream by their dotted names: what external processors and Wasm modules ask for.

Source: Envoy documentation, "Attributes".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

from outrider.data.certificate import certificate_facts
from outrider.data.filter_state import FilterStateObject
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_TYPE
from outrider.data.stream_info import PROTOCOL_TEXT, ConnectionInfo, SslInfo, StreamInfo
from outrider.http.grpc_status import is_grpc_content_type

if TYPE_CHECKING:
    from outrider.factory_context import ServerInfo

_DIRECTIONS: Final = {"UNSPECIFIED": 0, "INBOUND": 1, "OUTBOUND": 2}
# What may come first; anything else is no attribute.
ROOTS: Final = frozenset(
    ("request", "response", "connection", "source", "destination", "upstream", "xds", "metadata", "filter_state",
     "node", "cluster_name", "cluster_metadata", "route_name", "route_metadata", "listener_direction",
     "listener_metadata", "upstream_host_metadata")
)  # fmt: skip


class Activation:
    """Where attributes are looked up."""

    __slots__ = ("info", "request_headers", "response_headers", "response_trailers", "route", "server", "direction")

    def __init__(
        self,
        info: StreamInfo,
        request_headers: RequestHeaderMap | None,
        response_headers: ResponseHeaderMap | None,
        response_trailers: HeaderMap | None,
        route: object,
        server: ServerInfo,
        direction: str = "UNSPECIFIED",
    ) -> None:
        self.info = info
        self.request_headers = request_headers
        self.response_headers = response_headers
        self.response_trailers = response_trailers
        self.route = route
        self.server = server
        self.direction = direction

    def find(self, path: list[str]) -> object:
        """The value at a path such as ["request", "headers", "x-a"]; None where there is none.

        Values are str, bytes, bool, int, float, dict and list.
        """
        if not path:
            return None
        value = self._root(path[0], path[1] if len(path) > 1 else "")
        # How many parts the root has taken.
        for part in path[2 if path[0] in _TWO_PARTS else 1 :]:
            if isinstance(value, dict):
                value = value.get(part)
            else:
                return None
        return value

    def _root(self, root: str, name: str) -> object:
        info = self.info
        if root == "request":
            return self._request(name)
        if root == "response":
            return self._response(name)
        if root == "connection":
            return _connection(info.connection, name)
        if root == "source":
            address = info.connection.remote_address
            return {"address": address.text, "port": address.port}.get(name)
        if root == "destination":
            address = info.connection.local_address
            return {"address": address.text, "port": address.port}.get(name)
        if root == "upstream":
            return self._upstream(name)
        if root == "metadata":
            return {"filter_metadata": info.metadata or {}}
        if root == "filter_state":
            return _states(info.filter_state)
        if root == "xds":
            return self._xds(name)
        if root == "node":
            server = self.server
            return {"id": server.node_id, "cluster": server.node_cluster, "metadata": server.node_metadata}
        return self._xds(root)

    def _request(self, name: str) -> object:
        headers, info = self.request_headers, self.info
        if name == "size":
            return info.bytes_received
        if name == "total_size":
            return info.bytes_received + (headers.byte_size() if headers is not None else 0)
        if name == "protocol":
            return PROTOCOL_TEXT[info.protocol] if info.protocol >= 0 else None
        if name == "time":
            return info.start_time_ns / 1e9
        if name == "duration":
            return (info.end_ns - info.start_mono_ns) / 1e9 if info.end_ns else None
        if headers is None:
            return None
        path = headers.path.decode("utf-8", "replace")
        if name == "path":
            return path
        if name == "url_path":
            return path.partition("?")[0]
        if name == "query":
            return path.partition("?")[2]
        if name == "query_params":
            pairs = [part.partition("=") for part in path.partition("?")[2].split("&") if part]
            return {unquote_plus(key): unquote_plus(value) for key, _, value in pairs}
        if name == "headers":
            return header_dict(headers)
        known = {
            "host": headers.authority, "method": headers.method, "scheme": headers.scheme,
            "referer": headers.single.get(b"referer"), "useragent": headers.single.get(b"user-agent"),
            "id": headers.single.get(b"x-request-id"),
        }.get(name)  # fmt: skip
        return known.decode("utf-8", "replace") if known else None

    def _response(self, name: str) -> object:
        headers, info = self.response_headers, self.info
        if name == "code":
            return info.response_code or (headers.status if headers is not None else None)
        if name == "code_details":
            return info.response_code_details or None
        if name == "size":
            return info.bytes_sent
        if name == "total_size":
            return info.bytes_sent + (headers.byte_size() if headers is not None else 0)
        if name == "flags":
            return info.response_flags
        if name == "headers":
            return None if headers is None else header_dict(headers)
        if name == "trailers":
            return None if self.response_trailers is None else header_dict(self.response_trailers)
        if name == "grpc_status":
            return self._grpc_status()
        if name == "backend_latency":
            upstream = info.upstream
            if upstream is None or not upstream.last_upstream_rx_ns or not upstream.first_upstream_tx_ns:
                return None
            return (upstream.last_upstream_rx_ns - upstream.first_upstream_tx_ns) / 1e9
        return None

    def _grpc_status(self) -> int | None:
        headers = self.response_headers
        if headers is None or not is_grpc_content_type(headers.single.get(CONTENT_TYPE)):
            return None
        value = None if self.response_trailers is None else self.response_trailers.get(b"grpc-status")
        value = value or headers.get(b"grpc-status")
        return int(value) if value is not None and value.isdigit() else None

    def _upstream(self, name: str) -> object:
        upstream = self.info.upstream
        if upstream is None:
            return None
        if name in ("address", "port"):
            address = upstream.host_address
            return None if address is None else (address.text if name == "address" else address.port)
        if name == "local_address":
            return None if upstream.local_address is None else upstream.local_address.text
        if name == "transport_failure_reason":
            return upstream.transport_failure_reason
        if name == "request_attempt_count":
            return self.info.attempt_count
        return _tls(upstream.ssl, name)

    def _xds(self, name: str) -> object:
        info = self.info
        if name == "node":
            return self._root("node", "")
        if name == "cluster_name":
            return info.cluster_name or None
        if name == "cluster_metadata":
            return {"filter_metadata": getattr(info.cluster, "metadata", {})}
        if name == "route_name":
            return info.route_name
        if name == "route_metadata":
            return {"filter_metadata": getattr(self.route, "metadata", {})}
        if name == "virtual_host_name":
            return info.virtual_host_name or None
        if name == "virtual_host_metadata":
            return {"filter_metadata": getattr(getattr(self.route, "virtual_host", None), "metadata", {})}
        if name == "upstream_host_metadata":
            host = None if info.upstream is None else info.upstream.host
            return {"filter_metadata": getattr(host, "metadata", {})}
        if name == "listener_direction":
            return _DIRECTIONS.get(self.direction, 0)
        if name == "listener_metadata":
            return {"filter_metadata": getattr(info.connection.listener_info, "metadata", {})}
        if name == "filter_chain_name":
            return info.connection.filter_chain_name or None
        return None


_TWO_PARTS: Final = frozenset(("request", "response", "connection", "source", "destination", "upstream", "xds"))


def header_dict(headers: HeaderMap) -> dict[str, object]:
    """Values joined by commas."""
    joined: dict[str, object] = {}
    for name, value in headers.all_items():
        key, text = name.decode("latin-1"), value.decode("utf-8", "replace")
        joined[key] = f"{joined[key]},{text}" if key in joined else text
    return joined


def _states(state: dict[str, object] | None) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, held in (state or {}).items():
        text = held.serialize() if isinstance(held, FilterStateObject) else None
        if text is not None:
            found[key] = text
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
    peer = name.endswith("peer_certificate") or name == "sha256_peer_certificate_digest"
    facts = certificate_facts(ssl.peer_certificate_der() if peer else ssl.local_certificate_der())
    if facts is None:
        return None
    kind = name.partition("_")[0]
    if kind == "subject":
        return facts.subject()
    if kind == "uri":
        return next(iter(facts.uri_sans()), None)
    if kind == "dns":
        return next(iter(facts.dns_sans()), None)
    if kind == "sha256":
        return facts.fingerprint_sha256()
    return None


def split_path(expression: str) -> list[str] | None:
    """`request.headers['x-a']` as its parts; None where it is not such a path."""
    parts: list[str] = []
    rest = expression.strip()
    while rest:
        if rest[0] == "[":
            quote = rest[1:2]
            end = rest.find(quote + "]", 2) if quote in ("'", '"') and quote else -1
            if end < 0 or not parts:
                return None
            parts.append(rest[2:end])
            rest = rest[end + 2 :]
            continue
        if parts:
            if rest[0] != ".":
                return None
            rest = rest[1:]
        length = 0
        while length < len(rest) and (rest[length].isalnum() or rest[length] == "_"):
            length += 1
        if not length:
            return None
        parts.append(rest[:length])
        rest = rest[length:]
    return parts if parts and parts[0] in ROOTS else None
