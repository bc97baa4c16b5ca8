"""validate.rules; each refusal was seen from the real binary."""

from __future__ import annotations

from typing import Any

import pytest
from messages import BOOTSTRAP, CLUSTER, HCM, LISTENER, ROUTER, ROUTES, TYPE_URL, message_of

from outrider.config import rules
from outrider.config.constraint import count_checks, field_checks, ignores_empty, is_required
from outrider.config.source import Places, Source

GOOD_CLUSTER = {"name": "c", "connect_timeout": "1s"}


def reasons(type_name: str, tree: dict[str, Any]) -> list[tuple[str | None, str]]:
    return [(error.path, error.text) for error in rules.check(message_of(type_name, tree))]


@pytest.mark.parametrize(
    ("type_name", "tree", "expected"),
    [
        (CLUSTER, GOOD_CLUSTER, []),
        (CLUSTER, {}, [("name", "value length must be at least 1 characters")]),
        (CLUSTER, {"name": "c", "connect_timeout": "0s"}, [("connect_timeout", "value must be greater than 0s")]),
        (CLUSTER, {"name": "c", "dns_refresh_rate": "0.001s"},
         [("dns_refresh_rate", "value must be greater than 0.001s")]),
        (CLUSTER, {"name": "c", "type": 77}, [("type", "value must be one of the defined enum values")]),
        (CLUSTER, {"name": "c", "lb_policy": 44}, [("lb_policy", "value must be one of the defined enum values")]),
        (CLUSTER, {"name": "c", "max_requests_per_connection": 0}, []),
        (CLUSTER, {"name": "c", "dns_resolvers": [{}]}, [("dns_resolvers[0]",
         "one of socket_address, pipe, envoy_internal_address is required")]),
        (CLUSTER, {"name": "c", "health_checks": [{}]}, [
            ("health_checks[0].timeout", "value is required"),
            ("health_checks[0].interval", "value is required"),
            ("health_checks[0].unhealthy_threshold", "value is required"),
            ("health_checks[0].healthy_threshold", "value is required"),
            ("health_checks[0]", "one of http_health_check, tcp_health_check, grpc_health_check, "
             "custom_health_check is required"),
        ]),
        (CLUSTER, {"name": "c", "common_lb_config": {"update_merge_window": "-1s"}},
         [("common_lb_config.update_merge_window", "Invalid duration: Expected positive duration")]),
        (CLUSTER, {"name": "c", "cleanup_interval": "9223372036s"},
         [("cleanup_interval", "Invalid duration: Duration out-of-range")]),
        (CLUSTER, {"name": "c", "cleanup_interval": "9223372035s"}, []),
        (CLUSTER, {"name": "c", "cleanup_interval": {"nanos": 1_999_999_999}},
         [("cleanup_interval", "Invalid duration: Duration out-of-range")]),
        (ROUTES, {"virtual_hosts": [{"name": "v"}]},
         [("virtual_hosts[0].domains", "value must contain at least 1 item(s)")]),
        (ROUTES, {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{}]}]}, [
            ("virtual_hosts[0].routes[0].match", "value is required"),
            ("virtual_hosts[0].routes[0]", "one of route, redirect, direct_response, filter_action, "
             "non_forwarding_action is required"),
        ]),
        (ROUTES, {"request_headers_to_remove": ["a", "b\n"]}, [
            ("request_headers_to_remove[1]", 'value does not match regex pattern "^[^\\x00\\x0A\\x0D]*$"')]),
        (ROUTES, {"request_headers_to_add": [{"header": {"key": "a b", "value": "c"}}]}, []),
        (ROUTES, {"request_headers_to_add": [{}]}, [("request_headers_to_add[0].header", "value is required")]),
        (ROUTES, {"vhost_header": ""}, []),
        (LISTENER, {"filter_chains": [{"filters": [{"name": "x", "typed_config": {
            "@type": TYPE_URL + HCM, "stat_prefix": ""}}]}]}, [
            ("filter_chains[0].filters[0].typed_config.stat_prefix", "value length must be at least 1 characters"),
            ("filter_chains[0].filters[0].typed_config",
             "one of rds, route_config, scoped_routes is required")]),
        (BOOTSTRAP, {"stats_flush_interval": "0s"},
         [("stats_flush_interval", "value must be inside range [0.001s, 300s)")]),
        (BOOTSTRAP, {"overload_manager": {}},
         [("overload_manager.resource_monitors", "value must contain at least 1 item(s)")]),
        (HCM, {"stat_prefix": "x", "route_config": {}, "max_request_headers_kb": 9000},
         [("max_request_headers_kb", "value must be inside range (0, 8192]")]),
        (ROUTER, {"strict_check_headers": ["x-nonsense"]}, [("strict_check_headers[0]",
         "value must be in list [x-envoy-upstream-rq-timeout-ms x-envoy-upstream-rq-per-try-timeout-ms "
         "x-envoy-max-retries x-envoy-retry-grpc-on x-envoy-retry-on]")]),
    ],
)  # fmt: skip
def test_constraints(type_name: str, tree: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert reasons(type_name, tree) == expected


def test_everything_broken_is_found_with_its_line() -> None:
    text = b"name: ''\nconnect_timeout: 0s\nhealth_checks:\n- {timeout: 0s}\n"
    places = Places(Source("f.yaml", "yaml", text))
    message = message_of(CLUSTER, {"name": "", "connect_timeout": "0s", "health_checks": [{"timeout": "0s"}]})
    found = rules.check(message, "", places)
    assert str(found[0]) == "f.yaml:1: name: value length must be at least 1 characters"
    assert str(found[1]) == "f.yaml:2: connect_timeout: value must be greater than 0s"
    assert "f.yaml:4: health_checks[0].timeout: value must be greater than 0s" in map(str, found)
    assert len(found) == 7


def test_a_prefix_leads_the_paths() -> None:
    (error,) = rules.check(message_of(CLUSTER, {}), "static_resources.clusters[3]")
    assert error.path == "static_resources.clusters[3].name"


def test_an_any_that_is_broken_inside() -> None:
    message: Any = message_of("envoy.config.core.v3.TypedExtensionConfig", {"name": "x", "typed_config": {}})
    message.typed_config.type_url = TYPE_URL + HCM
    message.typed_config.value = b"\xff"
    assert [error.text for error in rules.check(message)] == [f"does not hold a valid {HCM}"]


@pytest.mark.parametrize("outer", ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"])
def test_a_typed_struct_is_checked_as_what_it_names(outer: str) -> None:
    def broken(value: dict[str, Any], url: str = TYPE_URL + HCM) -> list[tuple[str | None, str]]:
        typed = {"@type": TYPE_URL + outer, "type_url": url, "value": value}
        return reasons("envoy.config.core.v3.TypedExtensionConfig", {"name": "x", "typed_config": typed})

    assert broken({"stat_prefix": "a", "route_config": {}}) == []
    assert broken({"route_config": {}}) == [("typed_config.stat_prefix", "value length must be at least 1 characters")]
    assert broken({"route_config": 5}) == [
        (
            "typed_config.route_config",
            f"expected an object ({ROUTES}), found the number 5",
        )
    ]
    assert broken({"nonsense": 5}, "a/unknown.Type") == []


def first(kind: str, content: dict[str, Any], value: Any) -> str | None:
    for check in field_checks({kind: content}, frozenset({0, 1})):
        reason = check(value)
        if reason is not None:
            return reason
    return None


@pytest.mark.parametrize(
    ("kind", "content", "good", "bad", "reason"),
    [
        ("uint32", {"lte": 5}, 5, 6, "value must be less than or equal to 5"),
        ("uint64", {"lt": "5"}, 4, 5, "value must be less than 5"),
        ("int64", {"gt": "5"}, 6, 5, "value must be greater than 5"),
        ("double", {"gte": 0.5}, 0.5, 0.4, "value must be greater than or equal to 0.5"),
        ("double", {"gt": 0, "lte": 1}, 1.0, 0.0, "value must be inside range (0.0, 1.0]"),
        ("int32", {"gt": 9, "lt": 3}, 10, 5, "value must be outside range (3, 9)"),
        ("int32", {"const": 5}, 5, 6, "value must equal 5"),
        ("int32", {"in": [1, 2]}, 2, 3, "value must be in list [1 2]"),
        ("int32", {"not_in": [1, 2]}, 3, 2, "value must not be in list [1 2]"),
        ("bool", {"const": True}, True, False, "value must equal true"),
        ("enum", {"defined_only": True}, 1, 2, "value must be one of the defined enum values"),
        ("enum", {"const": 1}, 1, 0, "value must equal 1"),
        ("enum", {"not_in": [0]}, 1, 0, "value must not be in list [0]"),
        ("string", {"min_len": "2"}, "éé", "é", "value length must be at least 2 characters"),
        ("string", {"max_len": "2"}, "éé", "ééé", "value length must be at most 2 characters"),
        ("string", {"min_len": "1", "max_len": "2"}, "é", "",
         "value length must be between 1 and 2 characters, inclusive"),
        ("string", {"len": "2"}, "ab", "a", "value length must be 2 characters"),
        ("string", {"max_bytes": "2"}, "é", "éé", "value length must be at most 2 bytes"),
        ("string", {"min_bytes": "2"}, "é", "a", "value length must be at least 2 bytes"),
        ("string", {"prefix": "/"}, "/a", "a", 'value does not have prefix "/"'),
        ("string", {"suffix": "/"}, "a/", "a", 'value does not have suffix "/"'),
        ("string", {"contains": "x"}, "axb", "ab", 'value does not contain substring "x"'),
        ("string", {"const": "x"}, "x", "y", "value must equal x"),
        ("string", {"in": ["a", "b"]}, "a", "c", "value must be in list [a b]"),
        ("string", {"pattern": "^[^/]*$"}, "ab\n", "a/b", 'value does not match regex pattern "^[^/]*$"'),
        ("string", {"pattern": "^$|^.*x$"}, "", "y", 'value does not match regex pattern "^$|^.*x$"'),
        ("string", {"well_known_regex": "HTTP_HEADER_NAME"}, ":path", "a b",
         "value does not match regex pattern \"^:?[0-9a-zA-Z!#$%&'*+-.^_|~\\x60]+$\""),
        ("string", {"well_known_regex": "HTTP_HEADER_NAME", "strict": False}, "", "a\n",
         'value does not match regex pattern "^[^\\x00\\x0A\\x0D]*$"'),
        ("string", {"ipv4": True}, "1.2.3.4", "::1", "value must be a valid ipv4 address"),
        ("bytes", {"min_len": "1"}, b"a", b"", "value length must be at least 1 characters"),
    ],
)  # fmt: skip
def test_single_rules(kind: str, content: dict[str, Any], good: Any, bad: Any, reason: str) -> None:
    assert first(kind, content, good) is None
    assert first(kind, content, bad) == reason


def test_counts() -> None:
    (exactly,) = count_checks({"min_items": "2", "max_items": "2"}, "item", "min_items", "max_items")
    assert exactly([1]) == "value must contain exactly 2 item(s)"
    assert exactly([1, 2]) is None
    (most,) = count_checks({"max_pairs": "1"}, "pair", "min_pairs", "max_pairs")
    assert most({1: 1, 2: 2}) == "value must contain no more than 1 pair(s)"


def test_flags_of_rules() -> None:
    assert ignores_empty({"string": {"ignore_empty": True}}) and not ignores_empty({"string": {}})
    assert is_required({"message": {"required": True}}) and not is_required({"duration": {}})
    assert rules.unique([1, 2, 1]) == "repeated value must contain unique items"
    assert rules.unique(["a", "b"]) is None
