"""Every extension that is part of the product. To add one: its module, here, in its category's order."""

from __future__ import annotations

from importlib import import_module
from typing import Final

EXTENSIONS: Final = (
    "compression.brotli",
    "compression.gzip",
    "compression.zstd",
    "filters.listener.http_inspector",
    "filters.listener.local_ratelimit",
    "filters.listener.original_dst",
    "filters.listener.proxy_protocol",
    "filters.listener.tls_inspector",
    "filters.network.connection_limit",
    "filters.network.direct_response",
    "filters.network.echo",
    "filters.network.http_connection_manager",
    "filters.network.local_ratelimit",
    "filters.network.rbac",
    "filters.network.set_filter_state",
    "filters.network.sni_cluster",
    "filters.network.tcp_proxy",
    "filters.http.rbac",
    "filters.http.buffer",
    "filters.http.compressor",
    "filters.http.decompressor",
    "filters.http.fault",
    "filters.http.header_mutation",
    "filters.http.header_to_metadata",
    "filters.http.health_check",
    "filters.http.json_to_metadata",
    "filters.http.local_ratelimit",
    "filters.http.set_filter_state",
    "filters.http.set_metadata",
    "filters.http.stateful_session",
    "filters.http.api_key_auth",
    "filters.http.basic_auth",
    "filters.http.cors",
    "filters.http.csrf",
    "filters.http.jwt_authn",
    "filters.http.ext_authz",
    "filters.http.connect_grpc_bridge",
    "filters.http.grpc_http1_bridge",
    "filters.http.grpc_http1_reverse_bridge",
    "filters.http.grpc_stats",
    "filters.http.grpc_web",
    "filters.http.router",
    "http.stateful_session.cookie",
    "http.stateful_session.header",
    "internal_redirect_predicates.allow_listed_routes",
    "internal_redirect_predicates.previous_routes",
    "internal_redirect_predicates.safe_cross_scheme",
    "python_filters",
    "retry_host_predicates.omit_canary_hosts",
    "retry_host_predicates.omit_host_metadata",
    "retry_host_predicates.previous_hosts",
    "retry_priorities.previous_priorities",
    "stat_sinks.dog_statsd",
    "stat_sinks.graphite_statsd",
    "stat_sinks.statsd",
    "transport_sockets.proxy_protocol",
    "transport_sockets.tls",
)


def load_extensions() -> None:
    """Import them, so that they are registered."""
    for name in EXTENSIONS:
        import_module(f"outrider.extensions.{name}")
