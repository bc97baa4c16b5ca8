"""envoy.filters.network.http_connection_manager: from configuration to HcmSettings.

Source: `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.access_log.access_log import AccessLog, create_access_logs
from outrider.data.stream_info import HTTP2
from outrider.http.codec import ServerConnection, ServerConnectionCallbacks
from outrider.http.conn_manager import HttpConnectionManager
from outrider.http.conn_manager_headers import (
    SERVER_APPEND_IF_ABSENT,
    SERVER_OVERWRITE,
    SERVER_PASS_THROUGH,
    ConnManagerHeaderRules,
)
from outrider.http.conn_manager_settings import (
    CODEC_AUTO,
    CODEC_HTTP1,
    CODEC_HTTP2,
    CodecFactory,
    DrainDecision,
    HcmSettings,
    UpgradeFilterChain,
)
from outrider.http.conn_manager_stats import HcmStats, ListenerHttpStats
from outrider.http.filter_registry import build_http_filter_chain
from outrider.http.forwarded import (
    CustomHeaderDetection,
    InternalAddressConfig,
    OriginalIpDetection,
    XffDetection,
    local_ip_address,
)
from outrider.http.header_mutation import HeaderMutations
from outrider.http.http1.server_connection import Http1ServerConnection
from outrider.http.http1.settings import DEFAULT_MAX_HEADERS_KB, Http1Settings, headers_count, underscore_action
from outrider.http.http1.stats import Http1Stats
from outrider.http.http2.server_connection import Http2ServerConnection
from outrider.http.http2.settings import Http2Settings
from outrider.http.http2.stats import Http2Stats
from outrider.http.local_reply import LocalReplyConfig
from outrider.http.path_normalization import (
    KEEP_UNCHANGED,
    REJECT_REQUEST,
    UNESCAPE_AND_FORWARD,
    UNESCAPE_AND_REDIRECT,
)
from outrider.http.xfcc import (
    ALWAYS_FORWARD_ONLY,
    APPEND_FORWARD,
    FORWARD_ONLY,
    SANITIZE,
    SANITIZE_SET,
    ClientCertRules,
)
from outrider.matching.cidr import parse_cidr_list
from outrider.native import load_http2
from outrider.network.connection import Connection
from outrider.network.filter import NetworkFilter
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory
from outrider.registry import ExtensionRegistry
from outrider.router.route_source import create_route_provider
from outrider.stats.store import Scope
from outrider.tracing.load import load_tracing

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

NAME: Final = "envoy.filters.network.http_connection_manager"
TYPE: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

ORIGINAL_IP_DETECTION: Final[ExtensionRegistry[OriginalIpDetection]] = ExtensionRegistry(
    "envoy.http.original_ip_detection"
)
EARLY_HEADER_MUTATION: Final[ExtensionRegistry[HeaderMutations]] = ExtensionRegistry("envoy.http.early_header_mutation")
REQUEST_ID: Final[ExtensionRegistry[tuple[bool, bool]]] = ExtensionRegistry("envoy.request_id")

_CODECS: Final = {"AUTO": CODEC_AUTO, "HTTP1": CODEC_HTTP1, "HTTP2": CODEC_HTTP2}
_SERVER: Final = {
    "OVERWRITE": SERVER_OVERWRITE,
    "APPEND_IF_ABSENT": SERVER_APPEND_IF_ABSENT,
    "PASS_THROUGH": SERVER_PASS_THROUGH,
}
_SLASHES: Final = {
    "IMPLEMENTATION_SPECIFIC_DEFAULT": KEEP_UNCHANGED,
    "KEEP_UNCHANGED": KEEP_UNCHANGED,
    "REJECT_REQUEST": REJECT_REQUEST,
    "UNESCAPE_AND_REDIRECT": UNESCAPE_AND_REDIRECT,
    "UNESCAPE_AND_FORWARD": UNESCAPE_AND_FORWARD,
}
_CERT_MODES: Final = {
    "SANITIZE": SANITIZE,
    "FORWARD_ONLY": FORWARD_ONLY,
    "APPEND_FORWARD": APPEND_FORWARD,
    "SANITIZE_SET": SANITIZE_SET,
    "ALWAYS_FORWARD_ONLY": ALWAYS_FORWARD_ONLY,
}


class HcmFactory(NetworkFilterFactory):
    """Makes the connection manager of each connection."""

    is_terminal = True

    def __init__(self, settings: HcmSettings) -> None:
        self.settings = settings

    def create(self) -> NetworkFilter:
        return HttpConnectionManager(self.settings)


class HttpCodecFactory(CodecFactory):
    """Codecs with the settings of one connection manager."""

    def __init__(
        self,
        settings: Http1Settings,
        http2: Http2Settings,
        scope: Scope,
        max_headers_kb: int,
        max_headers_count: int,
        underscores: int,
    ) -> None:
        self.settings = settings
        self.http2 = http2
        self.scope = scope
        self.stats = Http1Stats(scope)
        # Made with the first connection that needs them, as in Envoy.
        self.http2_stats: Http2Stats | None = None
        self.max_headers_kb = max_headers_kb
        self.max_headers_count = max_headers_count
        self.underscores = underscores

    def create(self, connection: Connection, callbacks: ServerConnectionCallbacks, protocol: int) -> ServerConnection:
        if protocol == HTTP2 and load_http2.AVAILABLE:
            http2_stats = self.http2_stats
            if http2_stats is None:
                http2_stats = self.http2_stats = Http2Stats(self.scope, True)
            return Http2ServerConnection(
                connection,
                callbacks,
                self.http2,
                http2_stats,
                self.max_headers_kb,
                self.max_headers_count,
                self.underscores,
            )
        # Without HTTP/2 its preface is a broken HTTP/1 request, and is answered as one.
        return Http1ServerConnection(
            connection,
            callbacks,
            self.settings,
            self.stats,
            self.max_headers_kb,
            self.max_headers_count,
            self.underscores,
        )


@NETWORK_FILTERS.register(NAME, TYPE, "envoy.http_connection_manager")
def create(config: View, context: FactoryContext) -> NetworkFilterFactory:
    """Raises ConfigError."""
    return HcmFactory(build_settings(config, context))


def build_settings(config: View, context: FactoryContext) -> HcmSettings:
    """The settings of one connection manager. Raises ConfigError with the path of the field at fault."""
    prefix = config.text("stat_prefix")
    scope = context.root_scope.scope(f"http.{prefix}.")
    stats = HcmStats(scope)
    listener_scope = context.listener_scope if context.listener_scope is not None else context.scope
    listener_stats = ListenerHttpStats(listener_scope.scope(f"http.{prefix}."))
    inner = context.with_scope(scope)
    inner.stat_prefix = f"http.{prefix}."
    rules = _header_rules(config, context, stats)
    routes = create_route_provider(config, inner)
    rules.internal_only_headers = routes.internal_only_headers()
    chain = build_http_filter_chain(config.messages("http_filters"), inner, "http")
    settings = HcmSettings(
        stats,
        listener_stats,
        chain,
        routes,
        rules,
        _codec_factory(config, context),
        context.drain_decision if context.drain_decision is not None else DrainDecision(),
        context.server,
        LocalReplyConfig.from_view(config.message("local_reply_config"), inner),
    )
    settings.stat_prefix = prefix
    codec = config.enum("codec_type")
    if codec not in _CODECS:
        raise config.error(f"{codec} is not supported by this version of outrider", "codec_type")
    settings.codec_type = _CODECS[codec]
    if settings.codec_type == CODEC_HTTP2 and not load_http2.AVAILABLE:
        raise config.error("HTTP/2 is not built into this installation (libnghttp2 was missing)", "codec_type")
    settings.runtime = context.runtime
    settings.overload = context.overload
    settings.tracing = load_tracing(config.message("tracing"), inner, rules.use_request_id_for_trace_sampling)
    _timeouts(config, settings)
    _access_logs(config, inner, settings)
    settings.proxy_100_continue = config.flag("proxy_100_continue")
    http1 = config.message("http_protocol_options")
    if http1 is not None:
        settings.accept_http_10 = http1.flag("accept_http_10")
        settings.default_host_for_http_10 = http1.text("default_host_for_http_10").encode()
    for view in config.messages("upgrade_configs"):
        own = view.messages("filters")
        kind = view.text("upgrade_type").lower().encode()
        if kind in settings.upgrades:
            raise view.error(f"Error: multiple upgrade configs with the same name: '{view.text('upgrade_type')}'")
        upgrade_chain = build_http_filter_chain(own, inner, "http upgrade") if own else None
        settings.upgrades[kind] = UpgradeFilterChain(view.flag("enabled", True), upgrade_chain)
    return settings


def _codec_factory(config: View, context: FactoryContext) -> CodecFactory:
    common = config.message("common_http_protocol_options")
    http1 = Http1Settings.from_view(
        config.message("http_protocol_options"), config.flag("stream_error_on_invalid_http_message")
    )
    http1.refuse_https_on_plaintext = config.flag("use_remote_address") and not config.integer("xff_num_trusted_hops")
    http2 = Http2Settings.from_view(
        config.message("http2_protocol_options"),
        config.flag("stream_error_on_invalid_http_message")
        if config.has("stream_error_on_invalid_http_message")
        else None,
    )
    return HttpCodecFactory(
        http1,
        http2,
        context.root_scope,
        config.integer("max_request_headers_kb", DEFAULT_MAX_HEADERS_KB),
        headers_count(common),
        underscore_action(common),
    )


def _timeouts(config: View, settings: HcmSettings) -> None:
    common = config.message("common_http_protocol_options")
    if common is not None:
        idle = common.millis("idle_timeout")
        if idle is not None:
            settings.idle_timeout_ms = idle
        settings.max_connection_duration_ms = common.millis("max_connection_duration") or 0
        settings.max_stream_duration_ms = common.millis("max_stream_duration") or 0
        settings.max_requests_per_connection = common.integer("max_requests_per_connection")
    settings.http1_safe_max_connection_duration = config.flag("http1_safe_max_connection_duration")
    stream_idle = config.millis("stream_idle_timeout")
    if stream_idle is not None:
        settings.stream_idle_timeout_ms = stream_idle
    stream_flush = config.millis("stream_flush_timeout")
    if stream_flush is not None:
        settings.stream_flush_timeout_ms = stream_flush
    settings.request_timeout_ms = config.millis("request_timeout") or 0
    settings.request_headers_timeout_ms = config.millis("request_headers_timeout") or 0
    drain = config.millis("drain_timeout")
    if drain is not None:
        settings.drain_timeout_ms = drain
    settings.drain_timeout_jitter = config.number("drain_timeout_jitter") / 100.0
    delayed = config.millis("delayed_close_timeout")
    if delayed is not None:
        settings.delayed_close_timeout_ms = delayed


def _access_logs(config: View, context: FactoryContext, settings: HcmSettings) -> None:
    logs: list[AccessLog] = create_access_logs(config.messages("access_log"), context)
    settings.access_logs = logs
    settings.flush_access_log_on_new_request = config.flag("flush_access_log_on_new_request")
    settings.access_log_flush_interval_ms = config.millis("access_log_flush_interval") or 0
    options = config.message("access_log_options")
    if options is not None:
        if config.has("flush_access_log_on_new_request") or config.has("access_log_flush_interval"):
            raise config.error(
                "Only one of access_log_options and the deprecated access log fields may be specified",
                "access_log_options",
            )
        settings.flush_access_log_on_new_request = options.flag("flush_access_log_on_new_request")
        settings.access_log_flush_interval_ms = options.millis("access_log_flush_interval") or 0
        settings.flush_log_on_tunnel_successfully_established = options.flag(
            "flush_log_on_tunnel_successfully_established"
        )


def _header_rules(config: View, context: FactoryContext, stats: HcmStats) -> ConnManagerHeaderRules:
    rules = ConnManagerHeaderRules(stats)
    server = context.server
    rules.use_remote_address = config.flag("use_remote_address")
    rules.xff_num_trusted_hops = config.integer("xff_num_trusted_hops")
    rules.skip_xff_append = config.flag("skip_xff_append")
    rules.append_x_forwarded_port = config.flag("append_x_forwarded_port")
    rules.via = config.text("via").encode()
    rules.add_user_agent = config.flag("add_user_agent")
    rules.service_cluster = server.node_cluster.encode()
    rules.service_node = server.node_id.encode()
    rules.local_address = local_ip_address()
    name = config.text("server_name")
    rules.server_name = name.encode() if name else b"envoy"
    rules.server_transformation = _SERVER[config.enum("server_header_transformation")]
    scheme = config.message("scheme_header_transformation")
    if scheme is not None:
        rules.scheme_to_overwrite = scheme.text("scheme_to_overwrite").encode()
        rules.scheme_match_upstream = scheme.flag("match_upstream")
    rules.generate_request_id = config.flag("generate_request_id", True)
    rules.preserve_external_request_id = config.flag("preserve_external_request_id")
    rules.always_set_request_id_in_response = config.flag("always_set_request_id_in_response")
    extension = config.message("request_id_extension")
    if extension is not None:
        rules.pack_trace_reason, rules.use_request_id_for_trace_sampling = REQUEST_ID.create(extension, context)
    normalize = context.runtime.get_integer("http_connection_manager.normalize_path", 100)
    rules.normalize_path = config.flag("normalize_path", normalize == 0)
    rules.merge_slashes = config.flag("merge_slashes")
    rules.escaped_slashes = _SLASHES[config.enum("path_with_escaped_slashes_action")]
    rules.strip_matching_host_port = config.flag("strip_matching_host_port")
    rules.strip_any_host_port = config.which("strip_port_mode") == "strip_any_host_port" and config.flag(
        "strip_any_host_port"
    )
    if rules.strip_any_host_port and rules.strip_matching_host_port:
        raise config.error("Error: Only one of `strip_matching_host_port` or `strip_any_host_port` can be set.")
    rules.strip_trailing_host_dot = config.flag("strip_trailing_host_dot")
    internal = config.message("internal_address_config")
    if internal is not None:
        ranges = parse_cidr_list(internal.messages("cidr_ranges"))
        rules.internal_addresses = InternalAddressConfig(internal.flag("unix_sockets"), ranges)
    detections = config.messages("original_ip_detection_extensions")
    if detections:
        if rules.use_remote_address or rules.xff_num_trusted_hops:
            raise config.error(
                "Original IP detection extensions and use_remote_address/xff_num_trusted_hops may not be mixed",
                "original_ip_detection_extensions",
            )
        rules.detections = [ORIGINAL_IP_DETECTION.create(view, context) for view in detections]
    elif not rules.use_remote_address:
        rules.detections = [XffDetection(rules.xff_num_trusted_hops, None, True)]
    rules.early_mutations = [
        EARLY_HEADER_MUTATION.create(view, context) for view in config.messages("early_header_mutation_extensions")
    ]
    rules.client_cert = _client_cert_rules(config, context)
    rules.finish()
    return rules


def _client_cert_rules(config: View, context: FactoryContext) -> ClientCertRules:
    rules = ClientCertRules(_CERT_MODES[config.enum("forward_client_cert_details")])
    if rules.active:
        # Only now: reading certificates costs start-up time and memory.
        from outrider.http.certificate_facts import TlsCertificateFacts

        rules.facts = TlsCertificateFacts()
    details = config.message("set_current_client_cert_details")
    if details is not None:
        rules.subject = details.flag("subject")
        rules.cert = details.flag("cert")
        rules.chain = details.flag("chain")
        rules.dns = details.flag("dns")
        rules.uri = details.flag("uri")
        rules.issuer = details.flag("issuer")
    return rules


@ORIGINAL_IP_DETECTION.register(
    "envoy.http.original_ip_detection.xff", "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig"
)
def create_xff_detection(config: View, context: FactoryContext) -> OriginalIpDetection:
    trusted = config.message("xff_trusted_cidrs")
    cidrs = None if trusted is None else parse_cidr_list(trusted.messages("cidrs"))
    hops = config.integer("xff_num_trusted_hops")
    if cidrs is not None and hops:
        raise config.error("Cannot set both xff_num_trusted_hops and xff_trusted_cidrs")
    return XffDetection(hops, cidrs, config.flag("skip_xff_append", True))


@ORIGINAL_IP_DETECTION.register(
    "envoy.http.original_ip_detection.custom_header",
    "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig",
)
def create_custom_header_detection(config: View, context: FactoryContext) -> OriginalIpDetection:
    reject = config.message("reject_with_status")
    code = 0
    if reject is not None:
        code = reject.integer("code")
        if code < 400 or code > 511:
            code = 403
    return CustomHeaderDetection(
        config.text("header_name").lower().encode(),
        config.flag("allow_extension_to_set_address_as_trusted"),
        code,
    )


@EARLY_HEADER_MUTATION.register(
    "envoy.http.early_header_mutation.header_mutation",
    "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
)
def create_early_mutation(config: View, context: FactoryContext) -> HeaderMutations:
    return HeaderMutations.from_views(config.messages("mutations"))


@REQUEST_ID.register("envoy.request_id.uuid", "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig")
def create_uuid(config: View, context: FactoryContext) -> tuple[bool, bool]:
    """(pack the trace reason into the id, use the id for trace sampling)."""
    return config.flag("pack_trace_reason", True), config.flag("use_request_id_for_trace_sampling", True)
