"""A Cluster message as settings, and what is refused as Envoy 1.40 refuses it."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.config.errors import ConfigError
from outrider.config.view import View
from outrider.upstream.cluster_info import UPSTREAM_HTTP1, UPSTREAM_HTTP2, UPSTREAM_USE_DOWNSTREAM
from outrider.upstream.config.cluster_config import LOGICAL_DNS, STRICT_DNS, ClusterConfig, ClusterDefaults
from outrider.upstream.config.lb_policy import LEAST_REQUEST, MAGLEV, RANDOM, RING_HASH, ROUND_ROBIN
from outrider.upstream.host import DEGRADED_EDS_HEALTH, EDS_STATUS_DRAINING, FAILED_EDS_HEALTH
from tests.config.messages import CLUSTER, TYPE_URL, view_of

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def endpoint(host: str = "127.0.0.1", port: int = 80, **more: Any) -> dict[str, Any]:
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}} | more


def assignment(*endpoints: dict[str, Any], **locality: Any) -> dict[str, Any]:
    return {"cluster_name": "c", "endpoints": [{"lb_endpoints": list(endpoints)} | locality]}


def read(**fields: Any) -> tuple[ClusterConfig, View]:
    tree: dict[str, Any] = {"name": "c", "load_assignment": assignment(endpoint())} | fields
    view = view_of(CLUSTER, tree, "cluster")
    return ClusterConfig.from_view(view, ClusterDefaults()), view


def config(**fields: Any) -> ClusterConfig:
    """Read, with nothing left unread."""
    made, view = read(**fields)
    assert view.unread() == []
    return made


def refused(**fields: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(**fields)
    return str(caught.value)


def http_options(**fields: Any) -> dict[str, Any]:
    typed = {"@type": TYPE_URL + HTTP_OPTIONS, "explicit_http_config": {"http_protocol_options": {}}} | fields
    return {HTTP_OPTIONS: typed}


def policy(name: str, **fields: Any) -> dict[str, Any]:
    type_name = "envoy.extensions.load_balancing_policies." + name
    return {"typed_extension_config": {"name": "x", "typed_config": {"@type": TYPE_URL + type_name} | fields}}


def test_defaults() -> None:
    made = config()
    assert made.connect_timeout_ms == 5000
    assert made.per_connection_buffer_limit == 1024 * 1024
    assert made.idle_timeout_ms == 3_600_000
    assert made.max_response_headers_count == 100
    assert made.lb_policy.kind == ROUND_ROBIN
    assert made.lb_policy.common.panic_threshold == 50
    assert (made.thresholds[0].max_connections, made.thresholds[1].max_retries) == (1024, 3)
    assert made.protocol_choice == UPSTREAM_HTTP1
    assert made.wait_for_warm_on_init


def test_basics() -> None:
    made = config(
        alt_stat_name="other",
        connect_timeout="0.25s",
        per_connection_buffer_limit_bytes=4096,
        track_cluster_stats={"timeout_budgets": True, "per_endpoint_stats": True},
        upstream_connection_options={
            "tcp_keepalive": {"keepalive_time": 30},
            "set_local_interface_name_on_upstream_connections": True,
            "happy_eyeballs_config": {"first_address_family_version": "V4", "first_address_family_count": 2},
        },
        preconnect_policy={"per_upstream_preconnect_ratio": 1.5},
        connection_pool_per_downstream_connection=True,
        cleanup_interval="5s",
        metadata={"filter_metadata": {"a": {"b": 1}}},
        wait_for_warm_on_init=False,
    )
    assert (made.observability_name, made.connect_timeout_ms, made.per_connection_buffer_limit) == ("other", 250, 4096)
    assert made.timeout_budgets and made.per_endpoint_stats and not made.request_response_sizes
    assert len(made.bind.v4.options) == 2
    assert (made.first_family, made.first_family_count) == (4, 2)
    assert made.per_upstream_preconnect_ratio == 1.5
    assert made.metadata == {"a": {"b": 1}}


def test_endpoints() -> None:
    made = config(
        load_assignment={
            "cluster_name": "c",
            "endpoints": [
                {
                    "locality": {"region": "r", "zone": "z", "sub_zone": "s"},
                    "priority": 1,
                    "load_balancing_weight": 7,
                    "lb_endpoints": [
                        endpoint(health_status="DEGRADED", load_balancing_weight=3),
                        endpoint(port=81, health_status="DRAINING"),
                        endpoint(port=82, health_status="TIMEOUT"),
                    ],
                }
            ],
            "policy": {
                "overprovisioning_factor": 200,
                "weighted_priority_health": True,
                "drop_overloads": [
                    {"category": "x", "drop_percentage": {"numerator": 5, "denominator": "TEN_THOUSAND"}}
                ],
            },
        }
    )
    first, second, third = made.assignment.endpoints
    assert (first.weight, first.priority, first.locality) == (3, 1, ("r", "z", "s"))
    assert [each.health_flags for each in (first, second, third)] == [
        DEGRADED_EDS_HEALTH,
        EDS_STATUS_DRAINING,
        FAILED_EDS_HEALTH,
    ]
    assert made.assignment.locality_weights == {(1, "r", "z", "s"): 7}
    assert (made.assignment.overprovisioning_factor, made.assignment.weighted_priority_health) == (200, True)
    assert (made.drop_overload, made.drop_category) == (0.05, "x")


def test_endpoint_details() -> None:
    made = config(
        load_assignment=assignment(
            {
                "endpoint": {
                    "address": {"socket_address": {"address": "::1", "port_value": 1}},
                    "additional_addresses": [
                        {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 2}}}
                    ],
                    "hostname": "name",
                    "health_check_config": {"port_value": 9, "hostname": "hc", "disable_active_health_check": True},
                }
            }
        )
    )
    only = made.assignment.endpoints[0]
    assert (only.hostname, only.hc_port, only.hc_hostname, only.hc_disabled) == ("name", 9, "hc", True)
    literals = [literal.text for each in only.additional if (literal := each.literal()) is not None]
    assert literals == ["127.0.0.1:2"]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"load_assignment": assignment(endpoint("localhost"))},
            "malformed IP address: localhost. Consider setting resolver_name or setting cluster type to 'STRICT_DNS' "
            "or 'LOGICAL_DNS'",
        ),
        ({"load_assignment": assignment({"endpoint_name": "x"})}, "Address must be set"),
        ({"load_assignment": assignment({"endpoint": {}})}, "Address must be set"),
        (
            {"type": "LOGICAL_DNS", "load_assignment": assignment(endpoint("a.test"), endpoint("b.test"))},
            "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint",
        ),
        ({"type": "EDS"}, "cannot create an EDS cluster without an EDS config"),
        ({"type": "EDS", "eds_cluster_config": {}}, "cannot create an EDS cluster without an EDS config"),
        ({"type": "ORIGINAL_DST"}, "ORIGINAL_DST clusters must have no load assignment configured"),
        ({"lb_policy": "CLUSTER_PROVIDED"}, "cluster provided LB specified but cluster 'c' did not provide one"),
        ({"lb_policy": "LOAD_BALANCING_POLICY_CONFIG"}, "field load_balancing_policy need to be set"),
        (
            {"load_balancing_policy": {"policies": []}},
            "didn't find a registered load balancer factory implementation for cluster: 'c' with names from []",
        ),
        (
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 2000, "maximum_ring_size": 1024}},
            "ring hash: minimum_ring_size (2000) > maximum_ring_size (1024)",
        ),
        (
            {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 100}},
            "The table size of maglev must be prime number",
        ),
        (
            {"circuit_breakers": {"per_host_thresholds": [{"max_pending_requests": 1}]}},
            "Unsupported field in per_host_thresholds",
        ),
        (
            {"typed_extension_protocol_options": {"foo": http_options()[HTTP_OPTIONS]}},
            "Didn't find a registered network or http filter or protocol options implementation for name: 'foo'",
        ),
        (
            {
                "max_requests_per_connection": 3,
                "typed_extension_protocol_options": http_options(
                    common_http_protocol_options={"max_requests_per_connection": 2}
                ),
            },
            "Only one of max_requests_per_connection from Cluster or HttpProtocolOptions can be specified",
        ),
        (
            {"outlier_detection": {"max_ejection_time": "1s"}},
            "outlier detector's max_ejection_time cannot be smaller than base_ejection_time",
        ),
        (
            {"type": "STRICT_DNS", "dns_failure_refresh_rate": {"base_interval": "5s", "max_interval": "1s"}},
            "dns_failure_refresh_rate must have max_interval greater than or equal to the base_interval",
        ),
        (
            {
                "type": "STRICT_DNS",
                "dns_resolvers": [{"socket_address": {"address": "foo", "port_value": 53}}],
            },
            "malformed IP address: foo",
        ),
        (
            {
                "upstream_bind_config": {
                    "extra_source_addresses": [{"address": {"address": "127.0.0.2", "port_value": 0}}]
                }
            },
            "Extra/additional addresses cannot be specified if source_address is not set.",
        ),
        (
            {
                "upstream_bind_config": {
                    "source_address": {"address": "127.0.0.1", "port_value": 0},
                    "extra_source_addresses": [{"address": {"address": "127.0.0.2", "port_value": 0}}],
                }
            },
            "has two same IP version source addresses",
        ),
    ],
)
def test_refused(fields: dict[str, Any], text: str) -> None:
    message = refused(**fields)
    assert text in message
    assert message.startswith("cluster")


def test_names_need_a_dns_type() -> None:
    made = config(type="STRICT_DNS", load_assignment=assignment(endpoint("a.test")))
    assert made.discovery == STRICT_DNS
    assert made.dns is not None
    assert (made.dns.refresh_ms, made.dns.family, made.dns.respect_ttl) == (5000, "AUTO", False)


def test_dns_settings() -> None:
    made = config(
        type="LOGICAL_DNS",
        load_assignment=assignment(endpoint("a.test")),
        dns_refresh_rate="9s",
        dns_jitter="1s",
        dns_failure_refresh_rate={"base_interval": "2s"},
        respect_dns_ttl=True,
        dns_lookup_family="V4_ONLY",
        dns_resolvers=[{"socket_address": {"address": "127.0.0.1", "port_value": 5353}}],
        use_tcp_for_dns_lookups=True,
    )
    assert made.discovery == LOGICAL_DNS
    dns = made.dns
    assert dns is not None
    assert (dns.refresh_ms, dns.jitter_ms, dns.failure_base_ms, dns.failure_max_ms) == (9000, 1000, 2000, 20_000)
    assert (dns.respect_ttl, dns.family, dns.single_endpoint) == (True, "V4_ONLY", True)
    assert (dns.resolver.servers, dns.resolver.use_tcp) == ([("127.0.0.1", 5353)], True)


def test_typed_dns_cluster() -> None:
    made = config(
        load_assignment=assignment(endpoint("a.test")),
        cluster_type={
            "name": "envoy.clusters.dns",
            "typed_config": {
                "@type": TYPE_URL + "envoy.extensions.clusters.dns.v3.DnsCluster",
                "dns_refresh_rate": "3s",
                "dns_lookup_family": "ALL",
                "all_addresses_in_single_endpoint": True,
                "dns_min_refresh_rate": "2s",
                "typed_dns_resolver_config": {
                    "name": "envoy.network.dns_resolver.cares",
                    "typed_config": {
                        "@type": TYPE_URL + "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                        "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": 1}}],
                        "query_tries": 2,
                        "query_timeout_seconds": 1,
                    },
                },
            },
        },
    )
    dns = made.dns
    assert made.discovery == LOGICAL_DNS and dns is not None
    assert (dns.refresh_ms, dns.min_refresh_ms, dns.family) == (3000, 2000, "ALL")
    assert (dns.resolver.tries, dns.resolver.timeout_s) == (2, 1)


def test_http_options() -> None:
    made = config(
        typed_extension_protocol_options=http_options(
            common_http_protocol_options={
                "idle_timeout": "5s",
                "max_connection_duration": "60s",
                "max_stream_duration": "7s",
                "max_headers_count": 50,
                "max_requests_per_connection": 9,
                "headers_with_underscores_action": "REJECT_REQUEST",
            },
            upstream_http_protocol_options={"auto_sni": True, "override_auto_sni_header": "X-Sni"},
        )
    )
    assert (made.idle_timeout_ms, made.max_connection_duration_ms, made.max_stream_duration_ms) == (5000, 60_000, 7000)
    assert (made.max_response_headers_count, made.max_requests_per_connection) == (50, 9)
    assert (made.auto_sni, made.override_auto_sni_header) == (True, b"x-sni")


def test_older_http_fields() -> None:
    made = config(
        common_http_protocol_options={"idle_timeout": "5s"},
        http_protocol_options={"enable_trailers": True},
        upstream_http_protocol_options={"auto_sni": True},
        max_requests_per_connection=4,
        protocol_selection="USE_DOWNSTREAM_PROTOCOL",
    )
    assert (made.idle_timeout_ms, made.max_requests_per_connection, made.auto_sni) == (5000, 4, True)
    assert made.http1_settings.enable_trailers
    assert made.protocol_choice == UPSTREAM_USE_DOWNSTREAM


def test_http2() -> None:
    made, view = read(
        typed_extension_protocol_options={
            HTTP_OPTIONS: {
                "@type": TYPE_URL + HTTP_OPTIONS,
                "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 7}},
            }
        }
    )
    assert (made.protocol_choice, made.http2_settings.max_concurrent_streams) == (UPSTREAM_HTTP2, 7)
    assert view.unread() == []


def test_circuit_breakers() -> None:
    made = config(
        circuit_breakers={
            "thresholds": [
                {"priority": "HIGH", "max_connections": 7, "max_connection_pools": 2, "track_remaining": True},
                {"max_retries": 9, "retry_budget": {"budget_percent": {"value": 30}, "min_retry_concurrency": 5}},
                {"max_retries": 1},
            ],
            "per_host_thresholds": [{"max_connections": 4}],
        }
    )
    default, high = made.thresholds
    assert (high.max_connections, high.max_connection_pools, high.track_remaining) == (7, 2, True)
    assert (default.max_retries, default.retry_budget_percent, default.retry_min_concurrency) == (9, 30.0, 5)
    assert made.per_host_max_connections == 4


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 5}}, LEAST_REQUEST),
        ({"lb_policy": "RANDOM"}, RANDOM),
        ({"lb_policy": "RING_HASH", "ring_hash_lb_config": {"hash_function": "MURMUR_HASH_2"}}, RING_HASH),
        ({"lb_policy": "MAGLEV"}, MAGLEV),
        # Settings of another policy have no effect.
        ({"lb_policy": "ROUND_ROBIN", "ring_hash_lb_config": {"minimum_ring_size": 2}}, ROUND_ROBIN),
        ({"load_balancing_policy": {"policies": [policy("maglev.v3.Maglev", table_size=11)]}}, MAGLEV),
        (
            {
                "load_balancing_policy": {
                    "policies": [
                        policy("dynamic_modules.v3.DynamicModulesLoadBalancerConfig"),
                        policy("random.v3.Random"),
                    ]
                }
            },
            RANDOM,
        ),
    ],
)
def test_policies(fields: dict[str, Any], kind: str) -> None:
    made = config(**fields).lb_policy
    assert made.kind == kind
    assert kind != LEAST_REQUEST or made.choices == 5
    assert kind != RING_HASH or made.murmur


def test_typed_policy_settings() -> None:
    made = config(
        load_balancing_policy={
            "policies": [
                policy(
                    "least_request.v3.LeastRequest",
                    choice_count=4,
                    selection_method="FULL_SCAN",
                    active_request_bias={"default_value": 0.5, "runtime_key": "k"},
                    slow_start_config={
                        "slow_start_window": "10s",
                        "aggression": {"default_value": 2.0, "runtime_key": "a"},
                        "min_weight_percent": {"value": 5},
                    },
                    locality_lb_config={"locality_weighted_lb_config": {}},
                )
            ]
        }
    ).lb_policy
    assert (made.choices, made.full_scan, made.bias, made.bias_key) == (4, True, 0.5, "k")
    slow_start = made.slow_start
    assert slow_start is not None
    assert (slow_start.window_ms, slow_start.aggression, slow_start.min_percent) == (10_000, 2.0, 5.0)
    assert made.common.locality_weighted


def test_wrr_locality() -> None:
    made = config(
        load_balancing_policy={
            "policies": [
                policy(
                    "wrr_locality.v3.WrrLocality",
                    endpoint_picking_policy={"policies": [policy("random.v3.Random")]},
                )
            ]
        }
    ).lb_policy
    assert (made.kind, made.common.locality_weighted) == (RANDOM, True)


def test_common_lb_config() -> None:
    made = config(
        common_lb_config={
            "healthy_panic_threshold": {"value": 12.7},
            "locality_weighted_lb_config": {},
            "update_merge_window": "0s",
            "ignore_new_hosts_until_first_hc": True,
            "close_connections_on_host_set_change": True,
            "override_host_status": {"statuses": ["UNHEALTHY"]},
        }
    )
    common = made.lb_policy.common
    assert (common.panic_threshold, common.locality_weighted, common.zone_aware) == (12, True, False)
    assert made.update_merge_window_ms == 0
    assert made.ignore_new_hosts_until_first_hc and made.close_connections_on_host_set_change
    assert made.override_host_statuses == {"UNHEALTHY"}


def health_check(**fields: Any) -> dict[str, Any]:
    return {"timeout": "1s", "interval": "2s", "unhealthy_threshold": 3, "healthy_threshold": 4} | fields


def test_health_checks() -> None:
    made = config(
        health_checks=[
            health_check(
                name="a",
                interval_jitter="1s",
                unhealthy_interval="7s",
                reuse_connection=False,
                alt_port=99,
                http_health_check={
                    "path": "/x",
                    "host": "h",
                    "expected_statuses": [{"start": 200, "end": 300}],
                    "method": "POST",
                    "send": {"text": "6869"},
                    "request_headers_to_add": [{"header": {"key": "a", "value": "b"}}],
                },
                event_log_path="/x/y",
            ),
            health_check(name="b", tcp_health_check={"send": {"text": "00ff"}, "receive": [{"binary": "AQ=="}]}),
        ]
    )
    first, second = made.health_checks
    assert (first.timeout_ms, first.interval_ms, first.unhealthy_interval_ms) == (1000, 2000, 7000)
    assert (first.unhealthy_edge_interval_ms, first.healthy_edge_interval_ms) == (7000, 2000)
    assert (first.expected, first.method, first.body, first.alt_port) == ([(200, 300)], "POST", b"hi", 99)
    assert (first.no_traffic_interval_ms, first.no_traffic_healthy_interval_ms) == (60_000, 60_000)
    assert (second.kind, second.send, second.receive) == ("TCP", b"\x00\xff", [b"\x01"])


@pytest.mark.parametrize(
    ("checks", "text"),
    [
        (
            [health_check(tcp_health_check={}), health_check(tcp_health_check={})],
            "health check at index 0 is missing a name",
        ),
        ([health_check(grpc_health_check={})], "c cluster must support HTTP/2 for gRPC healthchecking"),
        (
            [health_check(http_health_check={"path": "/", "expected_statuses": [{"start": 99, "end": 200}]})],
            "expecting start >= 100, but found start=99",
        ),
        ([health_check(tcp_health_check={"send": {"text": "xyz"}})], "invalid hex string 'xyz'"),
    ],
)
def test_bad_health_checks(checks: list[dict[str, Any]], text: str) -> None:
    assert text in refused(health_checks=checks)


def test_outlier_defaults() -> None:
    made = config(outlier_detection={"base_ejection_time": "400s"}).outlier_detection
    assert made is not None
    assert (made.interval_ms, made.base_ejection_ms, made.max_ejection_ms) == (10_000, 400_000, 400_000)
    assert (made.consecutive_5xx, made.enforcing_consecutive_gateway_failure, made.max_ejection_percent) == (5, 0, 10)


def test_bind() -> None:
    bind = config(
        upstream_bind_config={
            "source_address": {"address": "127.0.0.1", "port_value": 0},
            "freebind": True,
            "extra_source_addresses": [{"address": {"address": "::1", "port_value": 0}}],
            "socket_options": [{"level": 1, "name": 2, "int_value": 3}],
        }
    ).bind
    assert bind.v4.address is not None and bind.v6.address is not None
    assert (bind.v4.address.host, bind.v6.address.host) == ("127.0.0.1", "::1")
    assert (1, 2, 3) in bind.v4.options
    assert len(bind.v4.options) == 2
    assert bind.other.address is None
