"""Entries of the access log service: `envoy.data.accesslog.v3`.

Source: Envoy's `GrpcCommon::Utility::extractCommonAccessLogProperties` and the HTTP and TCP gRPC access loggers.
"""

from __future__ import annotations

import uuid
from functools import cache
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from time import monotonic_ns
from typing import Any, Final

from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.wrappers_pb2 import StringValue

from outrider.access_log.context import FormatContext
from outrider.access_log.stream_ops import stream_id
from outrider.access_log.upstream_ops import UpstreamClusterOp
from outrider.config import api
from outrider.data import response_flag
from outrider.data.address import KIND_INTERNAL, KIND_IP, Address
from outrider.data.certificate import certificate_facts
from outrider.data.filter_state import FilterStateObject
from outrider.data.header_map import HeaderMap
from outrider.data.header_names import REFERER, X_FORWARDED_FOR, X_REQUEST_ID
from outrider.data.stream_info import ConnectionInfo, SslInfo, StreamInfo, UpstreamInfo
from outrider.extensions.access_loggers.custom_tags import CustomTag

_USER_AGENT: Final = b"user-agent"
_ORIGINAL_PATH: Final = b"x-envoy-original-path"
_CLUSTER: Final = UpstreamClusterOp(False)

_FLAG_FIELDS: Final = {
    response_flag.FAILED_LOCAL_HEALTH_CHECK: "failed_local_healthcheck",
    response_flag.NO_HEALTHY_UPSTREAM: "no_healthy_upstream",
    response_flag.UPSTREAM_REQUEST_TIMEOUT: "upstream_request_timeout",
    response_flag.LOCAL_RESET: "local_reset",
    response_flag.UPSTREAM_REMOTE_RESET: "upstream_remote_reset",
    response_flag.UPSTREAM_CONNECTION_FAILURE: "upstream_connection_failure",
    response_flag.UPSTREAM_CONNECTION_TERMINATION: "upstream_connection_termination",
    response_flag.UPSTREAM_OVERFLOW: "upstream_overflow",
    response_flag.NO_ROUTE_FOUND: "no_route_found",
    response_flag.DELAY_INJECTED: "delay_injected",
    response_flag.FAULT_INJECTED: "fault_injected",
    response_flag.RATE_LIMITED: "rate_limited",
    response_flag.RATELIMIT_SERVICE_ERROR: "rate_limit_service_error",
    response_flag.DOWNSTREAM_CONNECTION_TERMINATION: "downstream_connection_termination",
    response_flag.UPSTREAM_RETRY_LIMIT_EXCEEDED: "upstream_retry_limit_exceeded",
    response_flag.STREAM_IDLE_TIMEOUT: "stream_idle_timeout",
    response_flag.INVALID_ENVOY_REQUEST_HEADERS: "invalid_envoy_request_headers",
    response_flag.DOWNSTREAM_PROTOCOL_ERROR: "downstream_protocol_error",
    response_flag.UPSTREAM_MAX_STREAM_DURATION_REACHED: "upstream_max_stream_duration_reached",
    response_flag.RESPONSE_FROM_CACHE_FILTER: "response_from_cache_filter",
    response_flag.NO_FILTER_CONFIG_FOUND: "no_filter_config_found",
    response_flag.DURATION_TIMEOUT: "duration_timeout",
    response_flag.UPSTREAM_PROTOCOL_ERROR: "upstream_protocol_error",
    response_flag.NO_CLUSTER_FOUND: "no_cluster_found",
    response_flag.OVERLOAD_MANAGER: "overload_manager",
    response_flag.DNS_RESOLUTION_FAILURE: "dns_resolution_failure",
    response_flag.DOWNSTREAM_REMOTE_RESET: "downstream_remote_reset",
}
_TLS_VERSIONS: Final = {"TLSv1": 1, "TLSv1.1": 2, "TLSv1.2": 3, "TLSv1.3": 4}
# Envoy's number for an unknown suite.
_NO_SUITE: Final = 0xFFFF
_HTTP_VERSIONS: Final = (1, 2, 3, 4)
_METHODS: Final = {
    b"GET": 1, b"HEAD": 2, b"POST": 3, b"PUT": 4, b"DELETE": 5, b"CONNECT": 6, b"OPTIONS": 7, b"TRACE": 8, b"PATCH": 9,
}  # fmt: skip


class EntrySettings:
    """What goes into the entries of one logger."""

    __slots__ = ("tags", "filter_state", "request_headers", "response_headers", "response_trailers")

    def __init__(self, tags: list[CustomTag], filter_state: list[str]) -> None:
        self.tags = tags
        self.filter_state = filter_state
        # Names, lower-case.
        self.request_headers: list[bytes] = []
        self.response_headers: list[bytes] = []
        self.response_trailers: list[bytes] = []


def text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")


def http_entry(context: FormatContext, settings: EntrySettings) -> bytes:
    """A serialized HTTPAccessLogEntry."""
    entry: Any = api.new("envoy.data.accesslog.v3.HTTPAccessLogEntry")
    _fill_common(entry.common_properties, context, settings)
    info = context.stream_info
    if 0 <= info.protocol < len(_HTTP_VERSIONS):
        entry.protocol_version = _HTTP_VERSIONS[info.protocol]
    upstream = info.upstream
    _fill_request(entry.request, context, info, upstream, settings)
    response = entry.response
    if info.response_code:
        response.response_code.value = info.response_code
    response.response_code_details = info.response_code_details
    response.response_body_bytes = info.bytes_sent
    headers = context.response_headers
    if headers is not None:
        response.response_headers_bytes = headers.byte_size()
        _fill_fields(response.response_headers, headers, settings.response_headers)
    if context.response_trailers is not None:
        _fill_fields(response.response_trailers, context.response_trailers, settings.response_trailers)
    response.downstream_header_bytes_sent = info.header_bytes_sent
    if upstream is not None:
        response.upstream_header_bytes_received = upstream.header_bytes_received
    return entry.SerializeToString()  # type: ignore[no-any-return]


def tcp_entry(context: FormatContext, settings: EntrySettings) -> bytes:
    """A serialized TCPAccessLogEntry."""
    entry: Any = api.new("envoy.data.accesslog.v3.TCPAccessLogEntry")
    _fill_common(entry.common_properties, context, settings)
    if not entry.common_properties.stream_id:
        entry.common_properties.stream_id = str(uuid.uuid4())
    entry.connection_properties.received_bytes = context.stream_info.bytes_received
    entry.connection_properties.sent_bytes = context.stream_info.bytes_sent
    return entry.SerializeToString()  # type: ignore[no-any-return]


def _fill_request(
    request: Any, context: FormatContext, info: StreamInfo, upstream: UpstreamInfo | None, settings: EntrySettings
) -> None:
    headers = context.request_headers
    request.request_body_bytes = info.bytes_received
    request.downstream_header_bytes_received = info.header_bytes_received
    if upstream is not None:
        request.upstream_header_bytes_sent = upstream.header_bytes_sent
    if headers is None:
        return
    request.request_method = _METHODS.get(headers.method, 0)
    request.scheme = text(headers.scheme)
    request.authority = text(headers.authority)
    request.path = text(headers.path)
    request.user_agent = text(headers.get(_USER_AGENT))
    request.referer = text(headers.get(REFERER))
    request.forwarded_for = text(headers.get(X_FORWARDED_FOR))
    request.request_id = text(headers.get(X_REQUEST_ID))
    request.original_path = text(headers.get(_ORIGINAL_PATH))
    request.request_headers_bytes = headers.byte_size()
    _fill_fields(request.request_headers, headers, settings.request_headers)


def _fill_fields(target: Any, headers: HeaderMap, names: list[bytes]) -> None:
    for name in names:
        value = headers.get_joined(name)
        if value is not None:
            target[name.decode("latin-1")] = text(value)


def _fill_common(common: Any, context: FormatContext, settings: EntrySettings) -> None:
    info = context.stream_info
    connection = info.connection
    fill_address(common.downstream_remote_address, connection.remote_address)
    fill_address(common.downstream_direct_remote_address, connection.direct_remote_address)
    fill_address(common.downstream_local_address, connection.local_address)
    if connection.ssl is not None:
        _fill_tls(common.tls_properties, connection.ssl, connection)
    common.start_time.FromNanoseconds(info.start_time_ns)
    _fill_times(common, info)
    upstream = info.upstream
    if upstream is not None:
        address = upstream.remote_address or upstream.host_address
        if address is not None:
            fill_address(common.upstream_remote_address, address)
        if upstream.local_address is not None:
            fill_address(common.upstream_local_address, upstream.local_address)
        common.upstream_transport_failure_reason = upstream.transport_failure_reason
        common.upstream_wire_bytes_sent = upstream.wire_bytes_sent
        common.upstream_wire_bytes_received = upstream.wire_bytes_received
    common.upstream_cluster = _CLUSTER.string(context)
    _fill_flags(common, info.response_flags)
    if info.metadata:
        for namespace, values in info.metadata.items():
            common.metadata.filter_metadata[namespace].update(values)
    _fill_state(common, info, settings.filter_state)
    for tag in settings.tags:
        value = tag.value(context)
        if value:
            common.custom_tags[tag.name] = value
    common.route_name = info.route_name
    common.connection_termination_details = info.connection_termination_details or connection.termination_details
    common.upstream_request_attempt_count = info.attempt_count
    common.stream_id = text(stream_id(context))
    common.downstream_transport_failure_reason = connection.transport_failure_reason
    common.downstream_wire_bytes_sent = info.wire_bytes_sent
    common.downstream_wire_bytes_received = info.wire_bytes_received
    common.access_log_type = context.log_type
    if not info.end_ns and not context.log_type.endswith("End"):
        common.intermediate_log_entry = True


def fill_address(target: Any, address: Address) -> None:
    """A core.v3.Address."""
    if address.kind == KIND_IP:
        target.socket_address.address = address.host
        target.socket_address.port_value = address.port
    elif address.kind == KIND_INTERNAL:
        target.envoy_internal_address.server_listener_name = address.host
    else:
        target.pipe.path = address.host


def _fill_times(common: Any, info: StreamInfo) -> None:
    start = info.start_mono_ns
    upstream = info.upstream
    times = [
        ("time_to_last_rx_byte", info.last_downstream_rx_ns),
        ("time_to_first_downstream_tx_byte", info.first_downstream_tx_ns),
        ("time_to_last_downstream_tx_byte", info.last_downstream_tx_ns),
    ]
    if upstream is not None:
        times += [
            ("time_to_first_upstream_tx_byte", upstream.first_upstream_tx_ns),
            ("time_to_last_upstream_tx_byte", upstream.last_upstream_tx_ns),
            ("time_to_first_upstream_rx_byte", upstream.first_upstream_rx_ns),
            ("time_to_last_upstream_rx_byte", upstream.last_upstream_rx_ns),
        ]
    for name, when in times:
        if when:
            getattr(common, name).FromNanoseconds(max(when - start, 0))
    common.duration.FromNanoseconds(max((info.end_ns or monotonic_ns()) - start, 0))


def _fill_flags(common: Any, flags: int) -> None:
    if not flags:
        return
    target = common.response_flags
    for bit, name in _FLAG_FIELDS.items():
        if flags & bit:
            setattr(target, name, True)
    if flags & response_flag.UNAUTHORIZED_EXTERNAL_SERVICE:
        target.unauthorized_details.reason = 1


def _fill_state(common: Any, info: StreamInfo, names: list[str]) -> None:
    for name in names:
        for state in (info.filter_state, None if info.upstream is None else info.upstream.filter_state):
            found = None if state is None else state.get(name)
            if isinstance(found, FilterStateObject):
                plain = found.serialize()
                if plain is not None:
                    packed = PackedAny()
                    packed.Pack(StringValue(value=plain))
                    common.filter_state_objects[name].MergeFromString(packed.SerializeToString())
                break


def _fill_tls(target: Any, ssl: SslInfo, connection: ConnectionInfo) -> None:
    target.tls_version = _TLS_VERSIONS.get(ssl.tls_version(), 0)
    target.tls_cipher_suite.value = _suite_numbers().get(ssl.cipher(), _NO_SUITE)
    target.tls_sni_hostname = connection.requested_server_name
    target.tls_session_id = ssl.session_id()
    target.ja3_fingerprint = connection.ja3_hash
    _fill_certificate(target.local_certificate_properties, ssl.local_certificate_der(), False)
    _fill_certificate(target.peer_certificate_properties, ssl.peer_certificate_der(), True)


@cache
def _suite_numbers() -> dict[str, int]:
    """IANA's numbers of cipher suites by OpenSSL's names."""
    context = SSLContext(PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL")
    return {str(suite["name"]): int(suite["id"]) & 0xFFFF for suite in context.get_ciphers()}


def _fill_certificate(target: Any, der: bytes, is_peer: bool) -> None:
    target.SetInParent()
    facts = certificate_facts(der)
    if facts is None:
        return
    # Envoy tells no other names.
    for name in facts.uri_sans():
        target.subject_alt_name.add(uri=name)
    target.subject = facts.subject()
    if is_peer:
        target.issuer = facts.issuer()
