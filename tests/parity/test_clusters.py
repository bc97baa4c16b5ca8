"""Clusters that find their hosts in traffic, or in other clusters: original destination, forward proxy, aggregate."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, Json, bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.dns_server import Zone
from tests.support.http1_message import get, request

CACHE = {
    "name": "names", "dns_lookup_family": "V4_ONLY", "dns_failure_refresh_rate": {"base_interval": "30s"},
    "typed_dns_resolver_config": {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": TYPE + "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": "<<dns>>"}}],
            "dns_resolver_options": {"no_default_search_domain": True},
        },
    },
}  # fmt: skip
SMALL = {**CACHE, "name": "small", "max_hosts": 1}


def custom(name: str, kind: str, config: Json, **options: object) -> Json:
    return {
        "name": name, "connect_timeout": "2s", "lb_policy": "CLUSTER_PROVIDED", **options,
        "cluster_type": {
            "name": f"envoy.clusters.{kind}",
            "typed_config": {"@type": TYPE + f"extensions.clusters.{kind}.v3.ClusterConfig", **config},
        },
    }  # fmt: skip


def forward(cache: Json, **options: object) -> Json:
    return {
        "name": "envoy.filters.http.dynamic_forward_proxy",
        "typed_config": {
            "@type": TYPE + "extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
            "dns_cache_config": cache,
            **options,
        },
    }


def header(name: str, value: str) -> Json:
    mutation = {"append": {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    return {
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {
            "@type": TYPE + "extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": {"request_mutations": [mutation]},
        },
    }


def to(cluster_name: str, **options: object) -> str:
    route: Json = {"match": {"prefix": "/"}, "route": {"cluster": cluster_name, **options}}
    return str([{"name": "all", "domains": ["*"], "routes": [route]}]).replace("True", "true")


UP = "127.0.0.1:<<up:up>>"

PER_ROUTE = """
- name: all
  domains: ["*"]
  routes:
  - match: {prefix: /literal}
    route: {cluster: dfp}
    typed_per_filter_config:
      envoy.filters.http.dynamic_forward_proxy:
        "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig
        host_rewrite_literal: "up.test:<<up:up>>"
  - match: {prefix: /header}
    route: {cluster: dfp}
    typed_per_filter_config:
      envoy.filters.http.dynamic_forward_proxy:
        "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig
        host_rewrite_header: x-target
  - {match: {prefix: /}, route: {cluster: up}}
"""

def rewritten(cluster_name: str, host: str) -> str:
    return f"""
- name: all
  domains: ["*"]
  routes:
  - match: {{prefix: /}}
    route: {{cluster: {cluster_name}}}
    typed_per_filter_config:
      envoy.filters.http.dynamic_forward_proxy:
        "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig
        host_rewrite_literal: "{host}"
"""


ORIGINAL = {"type": "ORIGINAL_DST", "connect_timeout": "2s", "lb_policy": "CLUSTER_PROVIDED"}
ROUTE_STATE = {
    "name": "envoy.filters.http.set_filter_state",
    "typed_config": {
        "@type": TYPE + "extensions.filters.http.set_filter_state.v3.Config",
        "on_request_headers": [
            {
                "object_key": "envoy.network.transport_socket.original_dst_address",
                "format_string": {"text_format_source": {"inline_string": "%REQ(X-STATE)%"}, "omit_empty_values": True},
                "skip_if_empty": True,
            }
        ],
    },
}

GROUP = SideConfig(
    bootstrap(
        [
            http("main", to("dfp"), filters=[forward(CACHE)]),
            http("name", rewritten("dfp", "up.test:<<up:up>>"), filters=[forward(CACHE)]),
            http("ip", rewritten("dfp", UP), filters=[forward(CACHE)]),
            http("routes", PER_ROUTE, filters=[header("x-target", "up.test:<<up:up>>"), forward(CACHE)]),
            http("small_first", rewritten("dfp_small", "up.test:<<up:up>>"), filters=[forward(SMALL)]),
            http("small", to("dfp_small"), filters=[forward(SMALL)]),
            http("dst", to("dst"), filters=[header("x-envoy-original-dst-host", UP)]),
            http("dst_plain", to("dst")),
            http("dst_header", to("dst_header"), filters=[header("x-where", UP)]),
            http("dst_port", to("dst_port"), filters=[header("x-envoy-original-dst-host", "127.0.0.1:1")]),
            http("dst_state", to("dst"), filters=[header("x-state", UP), ROUTE_STATE]),
            http("aggregate", to("aggregate")),
            http("nothing", to("nothing")),
            http("composite", to("composite", retry_policy={"retry_on": "5xx", "num_retries": 3})),
        ],
        [
            cluster("up"),
            cluster("other"),
            cluster("dead", "<<refused:a>>"),
            {"name": "empty", "type": "STATIC", "connect_timeout": "2s"},
            custom("dfp", "dynamic_forward_proxy", {"dns_cache_config": CACHE}),
            custom("dfp_small", "dynamic_forward_proxy", {"dns_cache_config": SMALL}),
            {"name": "dst", **ORIGINAL, "original_dst_lb_config": {"use_http_header": True}},
            {
                "name": "dst_header", **ORIGINAL,
                "original_dst_lb_config": {"use_http_header": True, "http_header_name": "X-Where"},
            },
            {
                "name": "dst_port", **ORIGINAL,
                "original_dst_lb_config": {"use_http_header": True, "upstream_port_override": "<<up:up>>"},
            },
            custom("aggregate", "aggregate", {"clusters": ["empty", "absent", "other", "up"]}),
            custom("nothing", "aggregate", {"clusters": ["empty", "absent"]}),
            custom("composite", "composite", {"clusters": [{"name": "dead"}, {"name": "up"}]}),
        ],
    ),
    zones={"up.test": Zone(["127.0.0.1"]), "empty.test": Zone([])},
)  # fmt: skip


def asks(host: str, target: str = "/", headers: list[tuple[str, str]] | None = None) -> bytes:
    return request("GET", target, host=host, headers=headers or [])


CASES = [
    Case("name", get(), listener="name"),
    Case("name_again", get("/again"), listener="name"),
    Case("ip", get(), listener="ip"),
    Case("no_such_name", asks("nosuch.test"), 503, expect=["DNS resolution failure"]),
    Case("no_address", asks("empty.test"), 503),
    Case("route_literal", get("/literal"), listener="routes"),
    Case("route_header", get("/header"), listener="routes"),
    Case("route_plain", get("/"), listener="routes"),
    Case("overflow_first", get(), listener="small_first"),
    Case("overflow", asks("second.test"), 503, listener="small", expect=["DNS cache overflow"]),
    Case("dst_header", get(), listener="dst"),
    Case("dst_invalid", asks("a", headers=[("x-envoy-original-dst-host", "up.test:80")]), 503, listener="dst_plain", expect_stats=["cluster.dst.original_dst_host_invalid"]),
    Case("dst_none", get(), 503, listener="dst_plain"),
    Case("dst_own_header", get(), listener="dst_header"),
    Case("dst_port", get(), listener="dst_port"),
    Case("dst_state", get(), listener="dst_state"),
    Case("aggregate", get(), listener="aggregate"),
    Case("aggregate_nothing", get(), 503, listener="nothing"),
    Case("composite", get(), listener="composite"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_clusters(pair: Pair, case: Case) -> None:
    pair.check(case)
