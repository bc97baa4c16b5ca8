"""`HealthCheck`: settings of one active health checker, with Envoy's defaults. Times in milliseconds."""

from __future__ import annotations

from typing import Final

from outrider.config.view import View
from outrider.http.header_mutation import HeaderParser
from outrider.matching.string_matcher import StringMatcher, parse_string_matcher

KIND_HTTP: Final = "HTTP"
KIND_TCP: Final = "TCP"
KIND_GRPC: Final = "GRPC"

DEFAULT_RESPONSE_BUFFER: Final = 1024
_MINUTE_MS: Final = 60_000
_METHODS_WITH_BODY: Final = {"POST", "PUT", "DELETE", "OPTIONS", "PATCH"}


class HealthCheckConfig:
    """One checker."""

    __slots__ = (
        "name", "kind", "timeout_ms", "interval_ms", "initial_jitter_ms", "interval_jitter_ms",
        "interval_jitter_percent", "unhealthy_threshold", "healthy_threshold", "alt_port", "reuse_connection",
        "no_traffic_interval_ms", "no_traffic_healthy_interval_ms", "unhealthy_interval_ms",
        "unhealthy_edge_interval_ms", "healthy_edge_interval_ms", "event_log_paths", "always_log_failures",
        "always_log_success", "alpn", "match_criteria", "host", "path", "method", "body", "receive",
        "response_buffer_size", "headers", "expected", "retriable", "service_name", "send", "http2", "grpc_service",
    )

    def __init__(self) -> None:
        self.name: str = ""
        self.kind: str = KIND_HTTP
        self.timeout_ms: int = 0
        self.interval_ms: int = 0
        self.initial_jitter_ms: int = 0
        self.interval_jitter_ms: int = 0
        self.interval_jitter_percent: int = 0
        self.unhealthy_threshold: int = 1
        self.healthy_threshold: int = 1
        self.alt_port: int = 0
        self.reuse_connection: bool = True
        self.no_traffic_interval_ms: int = _MINUTE_MS
        self.no_traffic_healthy_interval_ms: int = _MINUTE_MS
        self.unhealthy_interval_ms: int = 0
        self.unhealthy_edge_interval_ms: int = 0
        self.healthy_edge_interval_ms: int = 0
        # Files that get events.
        self.event_log_paths: list[str] = []
        self.always_log_failures: bool = False
        self.always_log_success: bool = False
        self.alpn: list[str] = []
        # `transport_socket_match_criteria`; None = the endpoint's own socket.
        self.match_criteria: dict[str, object] | None = None
        # HTTP
        self.host: str = ""
        self.path: str = ""
        self.method: str = "GET"
        self.body: bytes = b""
        # Byte strings that must follow one another in what comes back.
        self.receive: list[bytes] = []
        self.response_buffer_size: int = DEFAULT_RESPONSE_BUFFER
        # Edits of the request's headers.
        self.headers: HeaderParser | None = None
        # [start, end)
        self.expected: list[tuple[int, int]] = [(200, 201)]
        self.retriable: list[tuple[int, int]] = []
        self.service_name: StringMatcher | None = None
        self.http2: bool = False
        # TCP
        self.send: bytes = b""
        # gRPC: the service whose health is asked for, empty = the server's.
        self.grpc_service: str = ""


def _payload(view: View) -> bytes:
    """Text is hexadecimal."""
    if view.which("payload") == "binary":
        return view.data("binary")
    text = view.text("text")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise view.error(f"invalid hex string '{text}'", "text") from None


def _ranges(views: list[View], what: str) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for view in views:
        start = view.integer("start")
        end = view.integer("end")
        if start >= end:
            raise view.error(
                f"Invalid http {what} status range: expecting start < end, but found start={start} and end={end}"
            )
        if start < 100:
            raise view.error(
                f"Invalid http {what} status range: expecting start >= 100, but found start={start}", "start"
            )
        if end > 600:
            raise view.error(f"Invalid http {what} status range: expecting end <= 600, but found end={end}", "end")
        ranges.append((start, end))
    return ranges


def _read_http(view: View, config: HealthCheckConfig) -> None:
    config.kind = KIND_HTTP
    config.host = view.text("host")
    config.path = view.text("path")
    method = view.enum("method")
    config.method = "GET" if method == "METHOD_UNSPECIFIED" else method
    codec = view.enum("codec_client_type")
    if codec == "HTTP3":
        raise view.error("HTTP3 is not supported by this version of outrider", "codec_client_type")
    config.http2 = codec == "HTTP2"
    send = view.message("send")
    if send is not None:
        config.body = _payload(send)
        if config.body and config.method not in _METHODS_WITH_BODY:
            raise view.error(
                "health_check.http_health_check: send payload is only supported for methods that allow a body", "send"
            )
    config.receive = [_payload(each) for each in view.messages("receive")]
    config.response_buffer_size = view.integer("response_buffer_size", DEFAULT_RESPONSE_BUFFER)
    config.headers = HeaderParser.from_views(
        view.messages("request_headers_to_add"), view.texts("request_headers_to_remove")
    )
    expected = _ranges(view.messages("expected_statuses"), "expected")
    if expected:
        config.expected = expected
    config.retriable = _ranges(view.messages("retriable_statuses"), "retriable")
    matcher = view.message("service_name_matcher")
    if matcher is not None:
        config.service_name = parse_string_matcher(matcher)


def _read_tcp(view: View, config: HealthCheckConfig) -> None:
    config.kind = KIND_TCP
    send = view.message("send")
    if send is not None:
        config.send = _payload(send)
    config.receive = [_payload(each) for each in view.messages("receive")]


def _read_grpc(view: View, config: HealthCheckConfig) -> None:
    config.kind = KIND_GRPC
    config.http2 = True
    config.host = view.text("authority")
    config.grpc_service = view.text("service_name")
    config.headers = HeaderParser.from_views(view.messages("initial_metadata"))


def read_health_check(view: View) -> HealthCheckConfig:
    """Raises ConfigError."""
    config = HealthCheckConfig()
    config.name = view.text("name")
    config.timeout_ms = view.millis("timeout") or 0
    config.interval_ms = view.millis("interval") or 0
    config.initial_jitter_ms = view.millis("initial_jitter") or 0
    config.interval_jitter_ms = view.millis("interval_jitter") or 0
    config.interval_jitter_percent = view.integer("interval_jitter_percent")
    config.unhealthy_threshold = view.integer("unhealthy_threshold")
    config.healthy_threshold = view.integer("healthy_threshold")
    config.alt_port = view.integer("alt_port")
    config.reuse_connection = view.flag("reuse_connection", True)
    no_traffic = view.millis("no_traffic_interval")
    config.no_traffic_interval_ms = no_traffic if no_traffic is not None else _MINUTE_MS
    healthy = view.millis("no_traffic_healthy_interval")
    config.no_traffic_healthy_interval_ms = healthy if healthy is not None else config.no_traffic_interval_ms
    unhealthy = view.millis("unhealthy_interval")
    config.unhealthy_interval_ms = unhealthy if unhealthy is not None else config.interval_ms
    edge = view.millis("unhealthy_edge_interval")
    config.unhealthy_edge_interval_ms = edge if edge is not None else config.unhealthy_interval_ms
    edge = view.millis("healthy_edge_interval")
    config.healthy_edge_interval_ms = edge if edge is not None else config.interval_ms
    config.always_log_failures = view.flag("always_log_health_check_failures")
    config.always_log_success = view.flag("always_log_health_check_success")
    _read_event_logs(view, config)
    tls = view.message("tls_options")
    if tls is not None:
        config.alpn = tls.texts("alpn_protocols")
    config.match_criteria = view.struct("transport_socket_match_criteria")
    kind = view.which("health_checker")
    if kind == "http_health_check":
        http = view.message("http_health_check")
        assert http is not None
        _read_http(http, config)
    elif kind == "tcp_health_check":
        tcp = view.message("tcp_health_check")
        assert tcp is not None
        _read_tcp(tcp, config)
    elif kind == "grpc_health_check":
        grpc = view.message("grpc_health_check")
        assert grpc is not None
        _read_grpc(grpc, config)
    else:
        raise view.error(f"field '{kind}' is set but not supported by this version of outrider", kind)
    return config


def _read_event_logs(view: View, config: HealthCheckConfig) -> None:
    path = view.text("event_log_path")
    if path:
        config.event_log_paths.append(path)
    for sink in view.messages("event_logger"):
        name = sink.text("name")
        type_name = sink.any_type("typed_config")
        if not type_name.endswith("HealthCheckEventFileSink"):
            raise sink.error(
                f"Didn't find a registered implementation for '{name}' with type URL: '{type_name}'", "typed_config"
            )
        config.event_log_paths.append(sink.any("typed_config").text("event_log_path"))


def read_health_checks(cluster: View) -> list[HealthCheckConfig]:
    """All checkers of a cluster. Raises ConfigError."""
    views = cluster.messages("health_checks")
    checks = [read_health_check(view) for view in views]
    if len(checks) > 1:
        for index, check in enumerate(checks):
            if not check.name:
                raise views[index].error(
                    f"health check at index {index} is missing a name; all health checks must have a name when "
                    "multiple health checks are configured"
                )
    return checks
