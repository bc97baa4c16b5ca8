"""The modules that mypyc compiles, as one unit, and how."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from setuptools import Extension

SOURCE = Path("src/outrider")

# Files and folders of the hot path. Everything else (configuration, admin, control plane) stays interpreted.
HOT = [
    "data",
    "event/timer.py",
    "config/runtime.py",
    "config/rules.py",
    "config/parse.py",
    "config/notices.py",
    "stats/bins.py",
    "stats/metrics.py",
    "stats/store.py",
    "network/filter.py",
    "network/shared_options.py",
    "tracing/config.py",
    "tracing/span.py",
    "tracing/tags.py",
    "http/stream_trace.py",
    "network/transport_socket.py",
    "network/connection.py",
    "network/client_connection.py",
    "network/filter_chain.py",
    "network/listener.py",
    "network/listener_filter.py",
    "network/listener_stats.py",
    "http/codec.py",
    "http/filter.py",
    "http/filter_chain.py",
    "http/filter_manager.py",
    "http/route.py",
    "http/active_stream.py",
    "http/connect_udp.py",
    "http/conn_manager.py",
    "http/conn_manager_settings.py",
    "http/conn_manager_stats.py",
    "http/conn_manager_headers.py",
    "http/path_normalization.py",
    "http/referer.py",
    "http/request_id.py",
    "http/forwarded.py",
    "http/xfcc.py",
    "http/header_mutation.py",
    "http/local_reply.py",
    "http/grpc_status.py",
    "http/http1",
    "http/http2",
    "network/proxy_protocol.py",
    "network/tcp_proxy.py",
    "network/tcp_proxy_settings.py",
    "network/tcp_proxy_upstream.py",
    "network/tls/socket.py",
    "network/tls/info.py",
    "network/tls/peer_check.py",
    "network/tls/stats.py",
    "extensions/filters/network/tcp_proxy.py",
    "access_log",
    "matching",
    "overload/state.py",
    "router",
    "router/config",
    "grpc",
    "upstream",
    "upstream/load_balancer",
    "extensions/clusters",
    "extensions/filters/udp",
    "network/udp_filter.py",
    "network/udp_listener.py",
    "network/udp_socket.py",
]

# Left interpreted although they lie in a folder above: they run when configuration loads, or use what mypyc cannot.
COLD = {
    "access_log/format_string.py",
    "extensions/clusters/redis.py",
    "grpc/factory.py",
    "grpc/google_client.py",
    "matching/tree_loader.py",
    "router/config/action_loader.py",
    "router/config/filter_config_loader.py",
    "router/config/match_loader.py",
    "router/config/matcher_loader.py",
    "router/config/policy_loader.py",
    "router/config/route_config_loader.py",
    "router/config/route_loader.py",
    "router/rds.py",
    "upstream/on_demand_clusters.py",
    "router/route_source.py",
    "router/scope.py",
    "router/sliced_build.py",
    "router/scoped_routes.py",
    "router/vhds.py",
}


def sources() -> list[str]:
    """Paths of all modules to compile, in a fixed order."""
    paths: list[str] = []
    for entry in HOT:
        path = SOURCE / entry
        if path.is_dir():
            paths += sorted(
                str(each)
                for each in path.glob("*.py")
                if each.name != "__init__.py" and str(each.relative_to(SOURCE)) not in COLD
            )
        elif path.exists():
            paths.append(str(path))
    return paths


def extensions() -> list[Extension]:
    """The compiled unit. Raises SystemExit (with mypy's messages printed) for a type error."""
    from mypyc.build import mypycify

    return list(
        mypycify(
            ["--config-file", "tools/mypyc.ini", *sources()],
            opt_level="2",
            debug_level="0",
            multi_file=True,
            group_name="outrider_hot",
        )
    )
