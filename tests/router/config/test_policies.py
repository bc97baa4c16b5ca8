"""Settings of routes: timeouts, retries, mirrors, hashes, upgrades, internal redirects, per-filter configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from outrider.data.header_map import RequestHeaderMap
from outrider.http.filter_registry import route_config
from outrider.router.config.filter_configs import NO_FILTER_CONFIGS
from outrider.router.config.hash_policy import hash64
from outrider.router.config.retry_policy import (
    RESET_SECONDS,
    RESET_UNIX_TIMESTAMP,
    RETRY_ON_5XX,
    RETRY_ON_GRPC_UNAVAILABLE,
    RETRY_ON_RESET,
    parse_retry_grpc_on,
    parse_retry_on,
)
from outrider.router.config.route_entry import RouteEntry
from tests.router.config.support import find, load, make_context, one_host, request, stream_info

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


def entry(host: dict[str, object] | None = None, top: dict[str, object] | None = None, **action: object) -> RouteEntry:
    tree = {**one_host({"match": {"prefix": "/"}, "route": {"cluster": "c1", **action}}, **(host or {})), **(top or {})}
    found = find(load(tree), request())
    assert isinstance(found, RouteEntry)
    return found


def test_defaults() -> None:
    made = entry()
    assert made.timeout_ms == 15_000
    assert (made.idle_timeout_ms, made.max_stream_duration_ms, made.flush_timeout_ms) == (-1, -1, -1)
    assert made.retry_policy is None and made.hedge_policy is None and made.hash_policy is None
    assert made.shadow_policies == [] and made.priority == 0 and made.cluster_not_found_code == 503
    assert made.upgrade_enabled(b"websocket") == -1 and not made.auto_host_rewrite
    assert made.request_body_buffer_limit == -1 and made.metadata_match is None


def test_times() -> None:
    made = entry(
        timeout="0s",
        idle_timeout="1.5s",
        flush_timeout="2s",
        max_stream_duration={
            "max_stream_duration": "3s",
            "grpc_timeout_header_max": "0s",
            "grpc_timeout_header_offset": "0.1s",
        },
        max_grpc_timeout="5s",
        grpc_timeout_offset="0.01s",
    )
    assert (made.timeout_ms, made.idle_timeout_ms, made.flush_timeout_ms) == (0, 1500, 2000)
    assert (made.max_stream_duration_ms, made.grpc_timeout_header_max_ms, made.grpc_timeout_header_offset_ms) == (
        3000,
        0,
        100,
    )
    assert (made.max_grpc_timeout_ms, made.grpc_timeout_offset_ms) == (5000, 10)
    assert made.idle_timeout_override() == 1500 and made.max_stream_duration_ms == 3000


def test_retry_policy() -> None:
    policy = entry(
        retry_policy={
            "retry_on": "5xx, reset,unavailable,unheard-of",
            "num_retries": 3,
            "per_try_timeout": "0.25s",
            "per_try_idle_timeout": "1s",
            "retriable_status_codes": [418],
            "retriable_headers": [{"name": "X-Again"}],
            "retriable_request_headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
            "retry_back_off": {"base_interval": "0.01s"},
            "rate_limited_retry_back_off": {
                "reset_headers": [{"name": "Retry-After"}, {"name": "X-Reset", "format": "UNIX_TIMESTAMP"}]
            },
            "host_selection_retry_max_attempts": 5,
        }
    ).retry_policy
    assert policy is not None
    assert policy.retry_on == RETRY_ON_5XX | RETRY_ON_RESET | RETRY_ON_GRPC_UNAVAILABLE
    assert (policy.num_retries, policy.per_try_timeout_ms, policy.per_try_idle_timeout_ms) == (3, 250, 1000)
    assert (policy.base_interval_ms, policy.max_interval_ms, policy.reset_max_interval_ms) == (10, 100, 300_000)
    assert [(each.name, each.format) for each in policy.reset_headers] == [
        (b"retry-after", RESET_SECONDS),
        (b"x-reset", RESET_UNIX_TIMESTAMP),
    ]
    assert policy.host_selection_max_attempts == 5
    assert policy.is_retriable_status(418) and not policy.is_retriable_status(500)
    assert policy.has_retriable_header(request(headers=[("x-again", "1")])) and not policy.has_retriable_header(
        request()
    )
    assert policy.allows_request(request()) and not policy.allows_request(request(method="POST"))


def test_retry_policy_of_the_virtual_host() -> None:
    host = {"retry_policy": {"retry_on": "5xx"}, "hedge_policy": {"hedge_on_per_try_timeout": True}}
    inherited = entry(host)
    assert inherited.retry_policy is not None and inherited.retry_policy.retry_on == RETRY_ON_5XX
    assert inherited.retry_policy.num_retries == 1
    assert inherited.hedge_policy is not None and inherited.hedge_policy.on_per_try_timeout
    own = entry(host, retry_policy={"retry_on": "reset"}, hedge_policy={"initial_requests": 2})
    assert own.retry_policy is not None and own.retry_policy.retry_on == RETRY_ON_RESET
    assert own.hedge_policy is not None and own.hedge_policy.initial_requests == 2


def test_retry_words() -> None:
    assert parse_retry_on("5xx,reset") == (RETRY_ON_5XX | RETRY_ON_RESET, True)
    assert parse_retry_on("5xx,unavailable") == (RETRY_ON_5XX, False)
    assert parse_retry_grpc_on("unavailable") == (RETRY_ON_GRPC_UNAVAILABLE, True)


def test_mirrors_of_three_levels() -> None:
    def mirror(name: str) -> dict[str, object]:
        return {"request_mirror_policies": [{"cluster": name}]}

    def names(found: RouteEntry) -> list[str]:
        return [each.cluster_name(request()) for each in found.shadow_policies]

    assert names(entry(top=mirror("c1"))) == ["c1"]
    assert names(entry(mirror("c2"), mirror("c1"))) == ["c2"]
    assert names(entry(mirror("c2"), mirror("c1"), **mirror("c3"))) == ["c3"]


def test_mirror_settings() -> None:
    policy = entry(
        request_mirror_policies=[
            {
                "cluster_header": "X-Mirror",
                "runtime_fraction": {"default_value": {"numerator": 1, "denominator": "TEN_THOUSAND"}},
                "trace_sampled": False,
                "disable_shadow_host_suffix_append": True,
                "host_rewrite_literal": "m",
                "request_headers_mutations": [{"remove": "x-a"}, {"append": {"header": {"key": "x-b", "value": "1"}}}],
            }
        ]
    ).shadow_policies[0]
    assert policy.cluster_name(request(headers=[("x-mirror", "m1")])) == "m1" and policy.cluster_name(request()) == ""
    assert policy.applies(10_000) and not policy.applies(1)
    assert policy.trace_sampled is False and not policy.append_host_suffix and policy.host_rewrite == b"m"
    assert len(policy.request_edits) == 2


def hashed(policy: list[Any], headers: RequestHeaderMap, cookies: list[bytes] | None = None) -> int | None:
    found = entry(hash_policy=policy).hash_policy
    assert found is not None
    return found.compute(headers, stream_info(), cookies)


def test_hash_is_xxh64() -> None:
    assert hash64(b"") == 0xEF46DB3751D8E999


def test_hash_policies() -> None:
    header = {"header": {"header_name": "X-U"}}
    query = {"query_parameter": {"name": "q"}}
    assert hashed([header], request(headers=[("x-u", "a")])) == hash64(b"a")
    assert hashed([header], request()) is None
    assert hashed([query], request("/?q=a&q=b")) == hash64(b"a")
    assert hashed([{"connection_properties": {"source_ip": True}}], request()) == hash64(b"127.0.0.2")
    both = request("/?q=b", headers=[("x-u", "a")])
    rotated = ((hash64(b"a") << 1) | (hash64(b"a") >> 63)) & (1 << 64) - 1
    assert hashed([header, query], both) == rotated ^ hash64(b"b")
    assert hashed([{**header, "terminal": True}, query], both) == hash64(b"a")
    assert hashed([{**header, "terminal": True}, query], request("/?q=b")) == hash64(b"b")
    rewritten = {"header": {"header_name": "x-u", "regex_rewrite": {"pattern": {"regex": "\\d"}, "substitution": "#"}}}
    assert hashed([rewritten], request(headers=[("x-u", "a1")])) == hash64(b"a#")


def test_order_of_repeated_headers_does_not_matter_for_the_hash() -> None:
    policy: list[dict[str, object]] = [{"header": {"header_name": "x"}}]
    one = hashed(policy, request(headers=[("x", "a"), ("x", "b")]))
    other = hashed(policy, request(headers=[("x", "b"), ("x", "a")]))
    assert one == other == hash64(b"b", hash64(b"a"))


def test_hash_cookies() -> None:
    cookie = {
        "name": "C",
        "ttl": "5s",
        "path": "/p",
        "attributes": [{"name": "SameSite", "value": "Lax"}, {"name": "Secure"}],
    }
    cookies: list[bytes] = []
    made = hashed([{"cookie": cookie}], request(), cookies)
    value = b"%016x" % hash64(b"127.0.0.2:40000127.0.0.1:10000")
    assert cookies == [b'C="' + value + b'"; Max-Age=5; Path=/p; SameSite=Lax; Secure; HttpOnly']
    assert made == hash64(value)
    cookies.clear()
    assert hashed([{"cookie": {"name": "D", "ttl": "0s"}}], request(), cookies) == made
    assert cookies == [b'D="' + value + b'"; HttpOnly']
    assert hashed([{"cookie": cookie}], request(headers=[("cookie", "C=x")]), cookies) == hash64(b"x")
    assert len(cookies) == 1
    assert hashed([{"cookie": {"name": "E"}}], request(), cookies) is None


def test_upgrades() -> None:
    made = entry(
        upgrade_configs=[
            {"upgrade_type": "WebSocket"},
            {"upgrade_type": "x", "enabled": False},
            {
                "upgrade_type": "CONNECT",
                "connect_config": {"allow_post": True, "proxy_protocol_config": {"version": "V2"}},
            },
        ]
    )
    assert [made.upgrade_enabled(kind) for kind in (b"websocket", b"x", b"connect", b"y")] == [1, 0, 1, -1]
    assert made.connect_config is not None
    assert made.connect_config.allow_post and made.connect_config.proxy_protocol_version == 2


def test_internal_redirects() -> None:
    policy = entry(internal_redirect_policy={}).internal_redirect_policy
    assert policy is not None and policy.max_internal_redirects == 1
    assert [policy.should_redirect(code) for code in (301, 302, 303)] == [False, True, False]
    policy = entry(
        internal_redirect_policy={
            "max_internal_redirects": 4,
            "redirect_response_codes": [307, 200],
            "allow_cross_scheme_redirect": True,
            "response_headers_to_copy": ["X-A"],
        }
    ).internal_redirect_policy
    assert policy is not None and policy.max_internal_redirects == 4 and policy.response_codes == [307]
    assert policy.allow_cross_scheme_redirect and policy.response_headers_to_copy == [b"x-a"]
    policy = entry(
        internal_redirect_action="HANDLE_INTERNAL_REDIRECT", max_internal_redirects=2
    ).internal_redirect_policy
    assert policy is not None and policy.max_internal_redirects == 2


@pytest.mark.parametrize(
    ("host", "route", "expected"),
    [
        ({}, {}, -1),
        ({"per_request_buffer_limit_bytes": 10}, {}, 10),
        ({"request_body_buffer_limit": 20}, {}, 20),
        ({"request_body_buffer_limit": 20}, {"per_request_buffer_limit_bytes": 5}, 5),
        ({}, {"request_body_buffer_limit": 0}, 0),
        ({}, {"request_body_buffer_limit": 7, "per_request_buffer_limit_bytes": 5}, 7),
    ],
)
def test_buffer_limits(host: dict[str, object], route: dict[str, object], expected: int) -> None:
    tree = one_host({"match": {"prefix": "/"}, "route": {"cluster": "c1"}, **route}, **host)
    found = find(load(tree), request())
    assert found is not None and found.request_body_buffer_limit == expected


def test_metadata_decorator_tracing_and_stats() -> None:
    route = {
        "match": {"prefix": "/"},
        "route": {"cluster": "c1", "metadata_match": {"filter_metadata": {"envoy.lb": {"a": "1"}, "x": {"b": "2"}}}},
        "metadata": {"filter_metadata": {"f": {"k": 1}}},
        "decorator": {"operation": "op", "propagate": False},
        "tracing": {"random_sampling": {"numerator": 5, "denominator": "MILLION"}},
        "stat_prefix": "sp",
        "name": "named",
    }
    context = make_context()
    found = find(load(one_host(route), context), request())
    assert isinstance(found, RouteEntry)
    assert found.metadata == {"f": {"k": 1.0}} and found.metadata_match == {"a": "1"}
    assert found.decorator is not None and (found.decorator.operation, found.decorator.propagate) == ("op", False)
    assert found.tracing is not None and found.tracing.random_sampling == (5, 1_000_000)
    assert found.tracing.client_sampling == (100, 100)
    assert found.stats is not None and found.stats.scope.counter("upstream_rq_total").value == 0
    assert "vhost.v.route.sp.upstream_rq_total" in context.root_scope.root().counters
    assert (found.name, found.virtual_host_name()) == ("named", "v")


EMPTY = "type.googleapis.com/google.protobuf.Empty"
TEXT = "type.googleapis.com/google.protobuf.StringValue"
FILTER_CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"


@route_config("google.protobuf.StringValue")
def create_text(view: View, context: FactoryContext) -> object:
    return view.text("value")


def test_per_filter_configuration() -> None:
    def level(text: str) -> dict[str, object]:
        return {"typed_per_filter_config": {"f": {"@type": TEXT, "value": text}}}

    cluster = {"name": "c1", "weight": 1, **level("cluster")}
    tree = {
        "name": "r",
        "virtual_hosts": [
            {
                "name": "v",
                "domains": ["*"],
                "routes": [
                    {
                        "match": {"prefix": "/w"},
                        "route": {"weighted_clusters": {"clusters": [cluster]}},
                        **level("route"),
                    },
                    {"match": {"prefix": "/r"}, "route": {"cluster": "c1"}, **level("route")},
                    {
                        "match": {"prefix": "/d"},
                        "route": {"cluster": "c1"},
                        "typed_per_filter_config": {
                            "f": {"@type": FILTER_CONFIG, "disabled": True},
                            "g": {"@type": FILTER_CONFIG, "config": {"@type": TEXT, "value": "wrapped"}},
                            "h": {"@type": FILTER_CONFIG, "is_optional": True, "config": {"@type": EMPTY}},
                            "i": {"@type": FILTER_CONFIG, "config": {}},
                        },
                    },
                    {"match": {"prefix": "/"}, "route": {"cluster": "c1"}},
                ],
                **level("host"),
            }
        ],
        **level("table"),
    }
    config = load(tree)
    weighted, own, disabled, plain = [find(config, request(path)) for path in ("/w", "/r", "/d", "/")]
    assert weighted is not None and own is not None and disabled is not None and plain is not None
    assert weighted.per_filter_configs("f") == ["table", "host", "route", "cluster"]
    assert weighted.per_filter_config("f") == "cluster" and own.per_filter_config("f") == "route"
    assert plain.per_filter_config("f") == "host" and plain.per_filter_config("x") is None
    assert plain.per_filter_configs("x") == []
    assert [disabled.filter_disabled(name) for name in "fghix"] == [1, 0, 0, 0, -1]
    assert disabled.per_filter_config("g") == "wrapped" and disabled.per_filter_config("h") is None
    assert plain.filter_disabled("f") == 0 and plain.has_filter_switches()
    assert NO_FILTER_CONFIGS.disabled("f") == -1


def test_matcher_of_the_virtual_host() -> None:
    def lead_to(name: str, match: dict[str, object]) -> dict[str, object]:
        route = {"name": name, "match": match, "direct_response": {"status": 200}}
        routes = {"@type": "type.googleapis.com/envoy.config.route.v3.RouteList", "routes": [route]}
        return {"action": {"name": "r", "typed_config": routes}}

    data_input = {
        "name": "i",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
            "header_name": "x",
        },
    }
    matcher = {
        "matcher_tree": {"input": data_input, "exact_match_map": {"map": {"1": lead_to("one", {"prefix": "/one"})}}},
        "on_no_match": lead_to("none", {"prefix": "/"}),
    }
    config = load(one_host(matcher=matcher))
    names = []
    for headers in (request("/one", headers=[("x", "1")]), request("/two", headers=[("x", "1")]), request("/one")):
        found = find(config, headers)
        names.append(None if found is None else found.name)
    # A tree's branch that leads to routes of which none fits is the end: no other branch is tried.
    assert names == ["one", None, "none"]
    assert config.explain(request("/one"), stream_info(), 0)[1].startswith("matcher: route[0] 'none'")
