"""How a cluster speaks HTTP: `envoy.extensions.upstreams.http.v3.HttpProtocolOptions` and the older fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.config.data_source import read_data_source
from outrider.config.view import View
from outrider.http.http1.settings import Http1Settings
from outrider.http.http2.settings import Http2Settings
from outrider.native import load_http2
from outrider.upstream.cluster_info import UPSTREAM_AUTO, UPSTREAM_HTTP1, UPSTREAM_HTTP2, UPSTREAM_USE_DOWNSTREAM

if TYPE_CHECKING:
    from outrider.upstream.config.cluster_config import ClusterConfig


HTTP_OPTIONS_NAME: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
HTTP_OPTIONS_TYPE: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
TCP_OPTIONS_NAME: Final = "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions"
# Names that older versions used.
_HTTP_NAMES: Final = (HTTP_OPTIONS_NAME, "envoy.upstreams.http.http_protocol_options")
_TCP_NAMES: Final = (TCP_OPTIONS_NAME, "envoy.upstreams.tcp.tcp_protocol_options")
_REDIS_NAME: Final = "envoy.filters.network.redis_proxy"
_CODEC_FILTER: Final = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"

# Envoy's default for upstream connections: one hour.
DEFAULT_IDLE_TIMEOUT_MS: Final = 3_600_000
DEFAULT_TCP_IDLE_TIMEOUT_MS: Final = 600_000
# Of HTTP/1.1 upstreams; twenty more than for requests.
DEFAULT_MAX_RESPONSE_HEADERS_KB: Final = 80
DEFAULT_MAX_HEADERS_COUNT: Final = 100


def read_http_options(view: View, config: ClusterConfig) -> None:
    """Fill the protocol part of `config` from a Cluster. Raises ConfigError."""
    options = view.any_map("typed_extension_protocol_options")
    typed: View | None = None
    for name, each in options.items():
        if name in _HTTP_NAMES:
            typed = each
        elif name in _TCP_NAMES:
            idle = each.millis("idle_timeout")
            if idle is not None:
                config.tcp_idle_timeout_ms = idle
        elif name == _REDIS_NAME:
            config.redis_auth = _redis_auth(each)
        else:
            raise view.error(
                "Didn't find a registered network or http filter or protocol options implementation for name: "
                f"'{name}'",
                "typed_extension_protocol_options",
            )
    older_requests = view.integer("max_requests_per_connection")
    if typed is None:
        _read_older(view, config)
    else:
        # The typed options replace the older fields as a whole.
        view.accept(
            "common_http_protocol_options", "http_protocol_options", "http2_protocol_options",
            "upstream_http_protocol_options", "protocol_selection",
        )
        _read_typed(typed, config)
    if view.has("max_requests_per_connection"):
        if config.max_requests_per_connection:
            raise view.error(
                "Only one of max_requests_per_connection from Cluster or HttpProtocolOptions can be specified",
                "max_requests_per_connection",
            )
        config.max_requests_per_connection = older_requests


def _redis_auth(view: View) -> list[bytes] | None:
    """Arguments of AUTH, from RedisProtocolOptions. Raises ConfigError."""
    found: list[bytes] = []
    for field in ("auth_username", "auth_password"):
        source = view.message(field)
        text = b"" if source is None else read_data_source(source)
        if text:
            found.append(text)
    return found or None


def _read_older(view: View, config: ClusterConfig) -> None:
    _read_common(view.message("common_http_protocol_options"), config)
    _read_upstream(view.message("upstream_http_protocol_options"), config)
    http1 = view.message("http_protocol_options")
    http2 = view.message("http2_protocol_options")
    if http2 is not None:
        config.http2_settings = Http2Settings.from_view(http2)
    if view.enum("protocol_selection") == "USE_DOWNSTREAM_PROTOCOL":
        config.protocol_choice = UPSTREAM_USE_DOWNSTREAM
    elif http2 is not None:
        config.protocol_choice = UPSTREAM_HTTP2
    if http1 is not None:
        config.http1_settings = Http1Settings.from_view(http1)


def _read_typed(view: View, config: ClusterConfig) -> None:
    _read_common(view.message("common_http_protocol_options"), config)
    _read_upstream(view.message("upstream_http_protocol_options"), config)
    kind = view.which("upstream_protocol_options")
    http1: View | None = None
    http2: View | None = None
    if kind == "explicit_http_config":
        explicit = view.message("explicit_http_config")
        assert explicit is not None
        http2 = explicit.message("http2_protocol_options")
        config.protocol_choice = UPSTREAM_HTTP1 if http2 is None else UPSTREAM_HTTP2
        http1 = explicit.message("http_protocol_options")
    elif kind == "use_downstream_protocol_config":
        use = view.message("use_downstream_protocol_config")
        assert use is not None
        config.protocol_choice = UPSTREAM_USE_DOWNSTREAM
        http1 = use.message("http_protocol_options")
        http2 = use.message("http2_protocol_options")
    elif kind == "auto_config":
        auto = view.message("auto_config")
        assert auto is not None
        config.protocol_choice = UPSTREAM_AUTO
        http1 = auto.message("http_protocol_options")
        http2 = auto.message("http2_protocol_options")
        if not load_http2.AVAILABLE:
            raise auto.error("HTTP/2 is not built into this installation (libnghttp2 was missing)")
    if http2 is not None:
        config.http2_settings = Http2Settings.from_view(http2)
    if http1 is not None:
        config.http1_settings = Http1Settings.from_view(http1)
    _read_filters(view)


def _read_filters(view: View) -> None:
    """Upstream HTTP filters: the codec alone may stand there, the same as none; any other stays unread."""
    filters = view.messages("http_filters") if _only_codec(view) else []
    for each in filters:
        each.text("name")
        each.any("typed_config")


def _only_codec(view: View) -> bool:
    filters = view.proto.http_filters  # type: ignore[attr-defined]
    if not filters:
        return False
    last = filters[-1].typed_config.type_url.rpartition("/")[2]
    if last != _CODEC_FILTER:
        raise view.error(
            "The codec filter is the only valid terminal upstream HTTP filter, use "
            "'envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec'",
            "http_filters",
        )
    return len(filters) == 1


def _read_upstream(view: View | None, config: ClusterConfig) -> None:
    if view is None:
        return
    config.auto_sni = view.flag("auto_sni")
    config.auto_san_validation = view.flag("auto_san_validation")
    config.override_auto_sni_header = view.text("override_auto_sni_header").lower().encode()


def _read_common(view: View | None, config: ClusterConfig) -> None:
    if view is None:
        return
    idle = view.millis("idle_timeout")
    if idle is not None:
        config.idle_timeout_ms = idle
    config.max_connection_duration_ms = view.millis("max_connection_duration") or 0
    config.max_stream_duration_ms = view.millis("max_stream_duration") or 0
    config.max_response_headers_count = view.integer("max_headers_count", DEFAULT_MAX_HEADERS_COUNT)
    config.max_response_headers_kb = view.integer("max_response_headers_kb", DEFAULT_MAX_RESPONSE_HEADERS_KB)
    config.headers_with_underscores_action = view.enum("headers_with_underscores_action")
    config.max_requests_per_connection = view.integer("max_requests_per_connection")
    if view.has("max_connection_duration_jitter"):
        config.max_connection_duration_jitter = view.number("max_connection_duration_jitter")
