
"""Clusters: DNS of all kinds with a server of the test's own, TLS to upstreams, balancing, connection pools, runtime."""

from __future__ import annotations

import time

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import Side, SideConfig, wait_for
from tests.support.dns_server import Zone
from tests.support.http1_message import answer, get
from tests.support.raw_client import Responses
from tests.support.upstream import CloseNow

ROUTES = """
- name: all
  domains: ["*"]
  routes:
  - {match: {prefix: /runtime, runtime_fraction: {runtime_key: routing.fraction, default_value: {numerator: 100}}}, direct_response: {status: 201}}
  - {match: {prefix: /feature, runtime_fraction: {runtime_key: routing.none, default_value: {numerator: 0}}}, direct_response: {status: 201}}
  - {match: {prefix: /feature-on, runtime_fraction: {runtime_key: routing.disk, default_value: {numerator: 0}}}, direct_response: {status: 201}}
  - {match: {prefix: /}, route: {cluster_header: x-cluster}}
"""
RESOLVER = f"""
typed_dns_resolver_config:
  name: envoy.network.dns_resolver.cares
  typed_config:
    "@type": {TYPE}extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
    resolvers: [{{socket_address: {{address: 127.0.0.1, port_value: <<dns>>}}}}]
    dns_resolver_options: {{no_default_search_domain: true}}
    query_timeout_seconds: 1
    query_tries: 1
"""


def named(name: str, host: str, options: str = "", kind: str = "STRICT_DNS", port: str = "<<up:up>>") -> dict[str, object]:
    """A cluster of one DNS name, resolved by the test's server."""
    cares = RESOLVER.strip().replace("\n", "\n  ")
    text = f"""
  type: {kind}
  dns_lookup_family: V4_ONLY
  dns_refresh_rate: 0.5s
  load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {host}, port_value: {port}}}}}}}}}]}}]}}
  {cares}
"""
    from tests.parity.harness.config import parse

    return {**cluster(name, options=text), **(parse(options) or {})}


def tls(name: str, context: str = "", port: str = "<<tls:good.test>>", protocol: str = "") -> dict[str, object]:
    return cluster(
        name, port, protocol=protocol,
        options=f"transport_socket: {{name: tls, typed_config: {{'@type': {TYPE}extensions.transport_sockets.tls.v3.UpstreamTlsContext, {context}}}}}",
    )


TRUSTED = "common_tls_context: {validation_context: {trusted_ca: {filename: <<ca>>}%s}}"

GROUP = SideConfig(
    bootstrap(
        [http("main", ROUTES), http("auto", ROUTES)],
        [
            cluster("up"),
            named("strict", "one.test"),
            named("logical", "one.test", kind="LOGICAL_DNS"),
            named("two", "two.test"),
            named("unknown", "unknown.test"),
            named("failing", "failing.test"),
            named("silent", "silent.test"),
            named("v6first", "both.test", "dns_lookup_family: AUTO"),
            named("all", "both.test", "dns_lookup_family: ALL"),
            named("preferred", "both.test", "dns_lookup_family: V4_PREFERRED"),
            named("ttl", "one.test", "respect_dns_ttl: true"),
            {
                "name": "typed", "connect_timeout": "2s",
                "cluster_type": {"name": "envoy.clusters.dns", "typed_config": {
                    "@type": TYPE + "extensions.clusters.dns.v3.DnsCluster", "dns_lookup_family": "V4_ONLY",
                    "typed_dns_resolver_config": {"name": "envoy.network.dns_resolver.cares", "typed_config": {
                        "@type": TYPE + "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                        "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": "<<dns>>"}}],
                        "dns_resolver_options": {"no_default_search_domain": True}}}}},
                "load_assignment": {"cluster_name": "typed", "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": "one.test", "port_value": "<<up:up>>"}}}}]}]},
            },
            tls("tls_plain", "sni: good.test"),
            tls("tls_no_sni"),
            tls("tls_trusted", "sni: good.test, " + TRUSTED % ""),
            tls("tls_san", "sni: good.test, " + TRUSTED % ", match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: good.test}}]"),
            tls("tls_wrong_san", "sni: good.test, " + TRUSTED % ", match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: other.test}}]"),
            tls("tls_untrusted", "sni: good.test, common_tls_context: {validation_context: {trusted_ca: {filename: <<otherca>>}}}"),
            tls("tls_client", "sni: good.test, common_tls_context: {tls_certificates: [{certificate_chain: {filename: <<cert:client.test>>}, private_key: {filename: <<key:client.test>>}}]}"),
            tls("tls_auto_sni", TRUSTED % "", protocol="upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true}"),
            tls("tls_version", "sni: good.test, common_tls_context: {tls_params: {tls_maximum_protocol_version: TLSv1_2}}"),
            tls("tls_to_plain", "sni: good.test", port="<<up:up>>"),
            cluster("plain_to_tls", "<<tls:good.test>>"),
            cluster("rr", "<<up:a>>", "<<up:b>>", options="load_assignment: {cluster_name: rr, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: <<up:a>>}}}, load_balancing_weight: 1}, {endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: <<up:b>>}}}, load_balancing_weight: 3}]}]}"),
            cluster("idle", "<<up:up>>", protocol="common_http_protocol_options: {idle_timeout: 0.2s}"),
            cluster("priority", options="load_assignment: {cluster_name: priority, endpoints: [{priority: 0, lb_endpoints: [{health_status: UNHEALTHY, endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: <<refused:x>>}}}}]}, {priority: 1, lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: <<up:up>>}}}}]}]}"),
            cluster("panic", options="load_assignment: {cluster_name: panic, endpoints: [{lb_endpoints: [{health_status: UNHEALTHY, endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: <<up:up>>}}}}]}]}"),
            cluster("no_panic", options="{common_lb_config: {healthy_panic_threshold: {value: 0}}, load_assignment: {cluster_name: no_panic, endpoints: [{lb_endpoints: [{health_status: UNHEALTHY, endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: <<up:up>>}}}}]}]}}"),
            cluster("preconnect", "<<up:up>>", options="preconnect_policy: {per_upstream_preconnect_ratio: 2.0}"),
            cluster("bound", "<<up:up>>", options="upstream_bind_config: {source_address: {address: 127.0.0.7, port_value: 0}}"),
        ],
        """
layered_runtime:
  layers:
  - {name: base, static_layer: {routing: {fraction: {numerator: 0}}}}
  - {name: disk, disk_layer: {symlink_root: "<<dir>>/runtime", subdirectory: current}}
  - {name: admin, admin_layer: {}}
""",
    ),
    zones={
        "one.test": Zone(["127.0.0.1"]),
        "two.test": Zone(["127.0.0.1", "127.0.0.2"]),
        "both.test": Zone(["127.0.0.1", "::1"]),
        "failing.test": Zone(failing=True),
        "silent.test": Zone(silent=True),
    },
    files={"runtime/current/routing/disk": "100\n"},
)


def to(name: str, target: str = "/", count: int = 1) -> list[object]:
    steps: list[object] = []
    for number in range(count):
        steps += [get(target, "good.test", ("x-cluster", name)), Responses(number + 1)]
    return steps


# Names are asked for in the background: how often is chance.
DNS = [r"update_"]

CASES = [
    Case("strict_dns", to("strict"), ignore_stats=DNS),
    Case("logical_dns", to("logical"), ignore_stats=DNS),
    Case("typed_dns", to("typed"), ignore_stats=DNS),
    Case("ttl_dns", to("ttl"), ignore_stats=DNS),
    Case("unknown_name", to("unknown"), 503, ignore_stats=DNS, expect=["UH"]),
    Case("failing_name", to("failing"), 503, ignore_stats=DNS),
    Case("silent_name", to("silent"), 503, ignore_stats=DNS),
    Case("v4_preferred", to("preferred"), ignore_stats=DNS),
    Case("tls", to("tls_plain"), expect=["sni=good.test"]),
    Case("tls_no_sni", to("tls_no_sni")),
    Case("tls_trusted", to("tls_trusted", count=2), 200, responses=2),
    Case("tls_san", to("tls_san")),
    Case("tls_wrong_san", to("tls_wrong_san"), 503),
    Case("tls_untrusted", to("tls_untrusted"), 503),
    Case("tls_client_certificate", to("tls_client"), expect=["commonName=client.test"]),
    Case("tls_auto_sni", to("tls_auto_sni"), expect=["sni=good.test"]),
    Case("tls_version", to("tls_version")),
    Case("tls_to_plain", to("tls_to_plain"), 503, replace=[(r"transport=.*", "transport"), (r"(?s)TLS_error.*?\}", "TLS_error}"), (r"TLS error.*", "TLS error"), (r"content-length: .*", "length"), (r"(out=)\d+", r"\1")]),
    Case("plain_to_tls", to("plain_to_tls"), None, response=False, log=False, stats=False),
    Case("weighted_round_robin", to("rr", count=8), 200, responses=8, upstream=False, log=False, stats=False),
    Case("idle_upstream_closed", [*to("idle"), 0.35, get("/", "good.test", ("x-cluster", "idle"))], 200, responses=2, expect_stats=["cluster.idle.upstream_cx_idle_timeout"]),
    Case("other_priority", to("priority")),
    Case("panic", to("panic"), expect_stats=["cluster.panic.lb_healthy_panic"]),
    Case("no_panic", to("no_panic"), 503),
    Case("preconnect", to("preconnect"), stats=False, upstream=False),
    Case("bound_source", to("bound")),
    Case("upstream_closes_idle", [*to("up"), 0.1, get("/", "good.test", ("x-cluster", "up"))], 200, responses=2, answers=[[answer(), CloseNow()], [answer()]]),
    Case("runtime_static_zero", get("/runtime"), 503),
    Case("runtime_default", get("/feature"), 503),
    Case("runtime_disk", get("/feature-on"), 201),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_upstreams(pair: Pair, case: Case) -> None:
    # Failing names are asked for again and again in the background.
    case.ignore_stats = (*case.ignore_stats, r"\.update_failure$")
    pair.check(case)


def test_runtime_by_admin(pair: Pair) -> None:
    """An override takes effect at once, and goes away again."""
    case = Case("runtime", get("/runtime"), None, stats=False)
    pair.admin("/runtime_modify?routing.fraction=100", "POST")
    time.sleep(0.2)
    pair.check(Case("on", get("/runtime"), 201, stats=False))
    pair.admin("/runtime_modify?routing.fraction=", "POST")
    time.sleep(0.2)
    pair.check(case)


def test_round_robin_by_weight(pair: Pair) -> None:
    """Of eight requests two and six, on both sides."""
    for side in pair.sides:
        side.run(Case("rr", to("rr", count=8), responses=8))
        assert (len(side.upstreams["a"].records()), len(side.upstreams["b"].records())) == (2, 6), side.kind


def test_dns_change_is_followed(pair: Pair) -> None:
    """A name that gets another address: new hosts are used, old ones leave."""
    for side in pair.sides:
        assert side.dns is not None
        side.dns.table["two.test"] = Zone(["127.0.0.3"])

    def moved(side: Side) -> bool:
        assert side.process is not None
        hosts = side.process.admin("/clusters?filter=%5Etwo$").body
        return "two::127.0.0.3:" in hosts and "two::127.0.0.1:" not in hosts

    for side in pair.sides:
        assert wait_for(lambda side=side: moved(side), 5.0), side.kind
