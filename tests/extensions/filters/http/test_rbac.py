"""envoy.filters.http.rbac: policies, shadow policies, matcher trees, routes."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.config.errors import ConfigError
from outrider.data.address import KIND_IP, Address
from outrider.data.header_map import RequestHeaderMap
from outrider.data.stream_info import HTTP11, ConnectionInfo, StreamInfo
from outrider.extensions.filters.http import rbac
from outrider.extensions.rbac.conditions import Subject
from outrider.extensions.rbac.engine import load_engine, response_details
from tests.extensions.filters.http.scene import Scene, request_headers
from tests.matching.support import view_of

ANY = [{"any": True}]


def policy(permission: dict[str, Any], principal: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"permissions": [permission], "principals": [principal or {"any": True}]}


def scene(rules: dict[str, Any], **rest: Any) -> Scene:
    return Scene("rbac", rbac.TYPE, {"rules": rules, **rest})


def test_allow_lets_in_what_matches_only() -> None:
    made = scene({"policies": {"get": policy({"header": {"name": ":method", "string_match": {"exact": "GET"}}})}})
    assert made.stream(request_headers()).passed
    denied = made.stream(request_headers(method="POST"))
    assert not denied.passed
    assert denied.out == ["reply 403 RBAC: access denied"]
    assert denied.details == "rbac_access_denied_matched_policy[none]"
    assert (made.counter("rbac.allowed"), made.counter("rbac.denied")) == (1, 1)


def test_deny_names_the_policy() -> None:
    made = scene({"action": "DENY", "policies": {"my policy": policy({"any": True})}})
    denied = made.stream(request_headers())
    assert denied.details == "rbac_access_denied_matched_policy[my_policy]"
    assert denied.stream_info.get_metadata(rbac.NAMESPACE) == {
        "enforced_engine_result": "denied",
        "enforced_effective_policy_id": "my policy",
    }


@pytest.mark.parametrize(
    ("permission", "principal", "headers", "allowed"),
    [
        ({"url_path": {"path": {"exact": "/a"}}}, None, {"path": "/a?b"}, True),
        ({"not_rule": {"any": True}}, None, {}, False),
        ({"and_rules": {"rules": [{"any": True}, {"destination_port": 80}]}}, None, {}, True),
        ({"and_rules": {"rules": [{"any": True}, {"destination_port": 81}]}}, None, {}, False),
        ({"or_rules": {"rules": [{"destination_port": 81}, {"any": True}]}}, None, {}, True),
        ({"destination_port_range": {"start": 79, "end": 80}}, None, {}, False),
        ({"destination_port_range": {"start": 80, "end": 81}}, None, {}, True),
        ({"destination_ip": {"address_prefix": "127.0.0.0", "prefix_len": 8}}, None, {}, True),
        ({"requested_server_name": {"exact": ""}}, None, {}, True),
        ({"any": True}, {"source_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}, {}, True),
        ({"any": True}, {"remote_ip": {"address_prefix": "11.0.0.0", "prefix_len": 8}}, {}, False),
        ({"any": True}, {"direct_remote_ip": {"address_prefix": "10.1.2.3", "prefix_len": 32}}, {}, True),
        ({"any": True}, {"authenticated": {}}, {}, False),
        ({"any": True}, {"not_id": {"authenticated": {}}}, {}, True),
        ({"any": True}, {"or_ids": {"ids": [{"authenticated": {}}, {"any": True}]}}, {}, True),
        ({"any": True}, {"filter_state": {"key": "k", "string_match": {"exact": "v"}}}, {}, False),
        ({"any": True}, {"url_path": {"path": {"prefix": "/x"}}}, {"path": "/xy"}, True),
    ],
)
def test_conditions(
    permission: dict[str, Any], principal: dict[str, Any] | None, headers: dict[str, Any], allowed: bool
) -> None:
    made = scene({"policies": {"p": policy(permission, principal)}})
    assert made.stream(request_headers(**headers)).passed == allowed


def test_shadow_rules_only_tell() -> None:
    made = Scene(
        "rbac",
        rbac.TYPE,
        {"shadow_rules": {"policies": {}}, "shadow_rules_stat_prefix": "sh", "track_per_rule_stats": True},
    )
    passed = made.stream(request_headers())
    assert passed.passed
    assert passed.stream_info.get_metadata(rbac.NAMESPACE) == {"shshadow_engine_result": "denied"}
    assert made.counter("rbac.sh.shadow_denied") == 1


def test_rules_are_counted() -> None:
    made = scene({"policies": {"p": policy({"any": True})}}, track_per_rule_stats=True, rules_stat_prefix="mine")
    made.stream(request_headers())
    assert made.counter("rbac.mine.policy.p.allowed") == 1


def test_log_action_leaves_a_hint() -> None:
    made = scene({"action": "LOG", "policies": {"p": policy({"header": {"name": "x", "present_match": True}})}})
    assert made.stream(request_headers()).stream_info.get_metadata("envoy.common") == {"access_log_hint": False}
    hit = made.stream(request_headers(("x", "1")))
    assert hit.passed
    assert hit.stream_info.get_metadata("envoy.common") == {"access_log_hint": True}


def test_a_route_replaces_or_switches_off() -> None:
    made = scene({"action": "DENY", "policies": {"p": policy({"any": True})}})
    off = made.route_config(rbac.ROUTE_TYPE, {})
    own = made.route_config(rbac.ROUTE_TYPE, {"rbac": {"rules": {"policies": {"q": policy({"any": True})}}}})
    assert not made.stream(request_headers()).passed
    assert made.stream(request_headers(), off).passed
    assert made.stream(request_headers(), own).passed


def test_conditions_in_cel_decide_as_well() -> None:
    for value, allowed in ((True, True), (False, False)):
        condition = {"const_expr": {"bool_value": value}}
        view = view_of(rbac.TYPE, {"rules": {"policies": {"p": {**policy({"any": True}), "condition": condition}}}})
        engine = load_engine(view, "rules", "matcher", True, None, True)
        assert engine is not None
        assert view.unread() == []
        connection = ConnectionInfo(1, Address(KIND_IP, "10.0.0.1", 80), Address(KIND_IP, "10.0.0.2", 1))
        info = StreamInfo(connection, 0, 0, HTTP11)
        assert engine.judge(Subject(connection, info, RequestHeaderMap(), None)).allowed is allowed


def test_bad_port_range() -> None:
    with pytest.raises(ConfigError, match="range start 5 cannot be greater or equal than range end 5"):
        scene({"policies": {"p": policy({"destination_port_range": {"start": 5, "end": 5}})}})


def test_details_have_no_space() -> None:
    assert response_details("a b\tc") == "rbac_access_denied_matched_policy[a_b_c]"
    assert response_details("") == "rbac_access_denied_matched_policy[none]"
