"""A small configuration for integration tests: one listener, one route, one upstream."""

from __future__ import annotations

import json
from typing import Any

_TYPE = "type.googleapis.com/envoy."


def at(port: int, host: str = "127.0.0.1") -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def proxy_config(
    admin_port: int, port: int, upstream_port: int, *, listener: dict[str, Any] | None = None,
    manager: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, route: dict[str, Any] | None = None,
) -> str:
    """JSON; the dictionaries are merged into the listener, connection manager, cluster and route action."""
    hcm = {
        "@type": _TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "main",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up", "timeout": "0s", **(route or {})}}],
                }
            ]
        },
        "http_filters": [
            {"name": "router", "typed_config": {"@type": _TYPE + "extensions.filters.http.router.v3.Router"}}
        ],
        **(manager or {}),
    }
    upstream = {
        "name": "up",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "up",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(upstream_port)}}]}],
        },
        **(cluster or {}),
    }
    listening = {
        "name": "main",
        "address": at(port),
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": hcm}]}],
        **(listener or {}),
    }
    return json.dumps(
        {"admin": {"address": at(admin_port)}, "static_resources": {"listeners": [listening], "clusters": [upstream]}}
    )
