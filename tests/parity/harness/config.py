"""Configurations from small pieces of YAML.

Placeholders, filled in by each side: `<<port:NAME>>` a port to listen on, `<<up:NAME>>` port of a scripted upstream,
`<<tls:NAME>>` port of a scripted TLS upstream, `<<grpc:NAME>>` port of a scripted gRPC server, `<<refused:NAME>>` port
that refuses, `<<silent:NAME>>` port that never answers a connection attempt, `<<dns>>` port of the DNS server,
`<<admin>>`, `<<dir>>` folder of the side.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

Json = dict[str, Any]

TYPE = "type.googleapis.com/envoy."
HCM = TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = TYPE + "extensions.filters.http.router.v3.Router"
FILE_LOG = TYPE + "extensions.access_loggers.file.v3.FileAccessLog"
HTTP_OPTIONS = TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions"

# Everything about a request that both sides must agree on and that does not depend on time.
LOG_FORMAT = (
    "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS%"
    " details=%RESPONSE_CODE_DETAILS% term=%CONNECTION_TERMINATION_DETAILS% route=%ROUTE_NAME%"
    " cluster=%UPSTREAM_CLUSTER% host=%UPSTREAM_HOST% in=%BYTES_RECEIVED% out=%BYTES_SENT%"
    " attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% transport=%UPSTREAM_TRANSPORT_FAILURE_REASON%\n"
)


def parse(text: str | Json | list[Any] | None) -> Any:
    """YAML text, or what is parsed already."""
    return yaml.safe_load(text) if isinstance(text, str) else text


def address(port: str, host: str = "127.0.0.1") -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def router(text: str = "") -> Json:
    options = parse(text) or {}
    return {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER, **options}}


def file_log(text_format: str = LOG_FORMAT, path: str = "<<dir>>/access.log") -> Json:
    log_format = {"text_format_source": {"inline_string": text_format}}
    return {"name": "log", "typed_config": {"@type": FILE_LOG, "path": path, "log_format": log_format}}


def manager(
    name: str, virtual_hosts: str = "", *, options: str = "", route_options: str = "", router_options: str = "",
    filters: list[Json] | None = None, log: list[Json] | None = None,
) -> Json:
    """An HTTP connection manager as network filter; `options` and `route_options` are YAML merged into it."""
    hosts = parse(virtual_hosts) or [
        {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}
    ]
    config: Json = {
        "@type": HCM,
        "stat_prefix": name,
        "route_config": {"name": "local", "virtual_hosts": hosts, **(parse(route_options) or {})},
        "http_filters": [*(filters or []), router(router_options)],
        "access_log": [file_log()] if log is None else log,
        **(parse(options) or {}),
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


def listener(name: str, network_filter: Json, options: str = "") -> Json:
    return {
        "name": name,
        "address": address(f"<<port:{name}>>"),
        "filter_chains": [{"filters": [network_filter]}],
        **(parse(options) or {}),
    }


def http(name: str, virtual_hosts: str = "", listener_options: str = "", **rest: Any) -> Json:
    """A listener with one HTTP connection manager, stat prefix = name; arguments of `manager`."""
    return listener(name, manager(name, virtual_hosts, **rest), listener_options)


def endpoints(name: str, *ports: str) -> Json:
    hosts = [{"endpoint": {"address": address(port)}} for port in ports]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]}


def cluster(name: str, *ports: str, options: str = "", protocol: str = "") -> Json:
    """A static cluster of 127.0.0.1 hosts (default: the upstream of its name); `protocol` = HttpProtocolOptions."""
    config: Json = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": endpoints(name, *(ports or (f"<<up:{name}>>",))),
        **(parse(options) or {}),
    }
    if protocol:
        settings = parse(protocol)
        if not {"explicit_http_config", "use_downstream_protocol_config", "auto_config"} & set(settings):
            settings["explicit_http_config"] = {"http_protocol_options": {}}
        extension = {"@type": HTTP_OPTIONS, **settings}
        config["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": extension}
    return config


def bootstrap(listeners: list[Json], clusters: list[Json], options: str = "") -> str:
    """The whole configuration as JSON (which is YAML). Port placeholders become numbers."""
    config: Json = {
        "admin": {"address": address("<<admin>>")},
        "static_resources": {"listeners": listeners, "clusters": clusters},
        **(parse(options) or {}),
    }
    return json.dumps(config, indent=1)
