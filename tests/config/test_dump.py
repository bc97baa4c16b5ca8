"""Dumps; the expected forms were printed by the real binary."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from messages import BOOTSTRAP, CLUSTER, LISTENER, ROUTER, TYPE_URL, message_of
from test_parse import messages

from outrider.config import api
from outrider.config.dump import duration_text, timestamp_text, to_json_text, to_json_tree, trim
from outrider.config.parse import Reader

TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


def test_names_enums_numbers_and_anys() -> None:
    tree = {
        "name": "c",
        "connect_timeout": "0.250s",
        "lb_policy": "RING_HASH",
        "ring_hash_lb_config": {"minimum_ring_size": "1024"},
        "common_lb_config": {"healthy_panic_threshold": {"value": 33.3}},
        "circuit_breakers": {
            "thresholds": [{"max_connections": 0, "retry_budget": {"budget_percent": {"value": 1e-07}}}]
        },
        "transport_socket": {"name": "tls", "typed_config": {"@type": TYPE_URL + TLS, "max_session_keys": 0}},
        "metadata": {"filter_metadata": {"x": {"a": 1, "b": 1.25, "c": None}}},
        "track_cluster_stats": {},
    }
    assert to_json_tree(message_of(CLUSTER, tree)) == tree


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(messages())
def test_a_dump_is_read_back_and_agrees_with_protobuf(message: Any) -> None:
    tree = json.loads(to_json_text(to_json_tree(message)))
    again = type(message)()
    reader = Reader()
    reader.read(tree, again)
    assert not reader.faults
    theirs = json_format.MessageToDict(message, preserving_proto_field_name=True, descriptor_pool=api.pool())
    back = json_format.MessageToDict(again, preserving_proto_field_name=True, descriptor_pool=api.pool())
    assert json.dumps(back, sort_keys=True) == json.dumps(theirs, sort_keys=True)


@pytest.mark.parametrize(
    ("seconds", "nanos", "text"),
    [
        (5, 0, "5s"), (0, 250_000_000, "0.250s"), (0, 1000, "0.000001s"), (1, 1, "1.000000001s"),
        (-1, -500_000_000, "-1.500s"), (0, 0, "0s"),
    ],
)  # fmt: skip
def test_durations(seconds: int, nanos: int, text: str) -> None:
    assert duration_text(seconds, nanos) == text


def test_timestamps() -> None:
    assert timestamp_text(1_000_000_000, 5_000_000) == "2001-09-09T01:46:40.005Z"
    assert timestamp_text(0, 0) == "1970-01-01T00:00:00Z"
    assert timestamp_text(-1, 0) == "1969-12-31T23:59:59Z"


def test_text_is_laid_out_as_envoys() -> None:
    assert to_json_text({"a": ["<é>"], "b": {}}) == '{\n "a": [\n  "\\u003cé\\u003e"\n ],\n "b": {}\n}'


def test_floats_are_as_short_as_they_can_be() -> None:
    matcher: Any = api.new("google.protobuf.FloatValue")
    matcher.value = 0.1
    wrapped: Any = api.new("google.protobuf.Any")
    wrapped.Pack(matcher)
    assert to_json_tree(wrapped)["value"] == 0.1


SECRETS = {
    "static_resources": {
        "secrets": [
            {"name": "a", "generic_secret": {"secret": {"inline_string": "hush"}}},
            {"name": "b", "generic_secret": {"secret": {"inline_bytes": "aHVzaA=="}}},
            {"name": "c", "tls_certificate": {
                "certificate_chain": {"inline_string": "public"},
                "private_key": {"inline_string": "hush"},
                "password": {"filename": "hush"},
            }},
        ],
        "listeners": [{"name": "l", "listener_filters": [
            {"name": "t", "typed_config": {"@type": TYPE_URL + "udpa.type.v1.TypedStruct", "type_url": TYPE_URL + TLS,
                "value": {"sni": "public", "common_tls_context": {"tls_certificates": [
                    {"private_key": {"inline_string": "hush"}}]}}}},
            {"name": "u", "typed_config": {"@type": TYPE_URL + "udpa.type.v1.TypedStruct", "type_url": "a/unknown.T",
                "value": {"x": {"y": ["hush"]}}}},
        ]}],
    }
}  # fmt: skip


def test_what_is_sensitive_is_redacted() -> None:
    message = message_of(BOOTSTRAP, SECRETS)
    text = json.dumps(to_json_tree(message, redact=True))
    assert "hush" not in text and "aHVzaA==" not in text
    assert text.count("[redacted]") == 5
    assert text.count("W3JlZGFjdGVkXQ==") == 1
    assert text.count("public") == 2
    assert "hush" in json.dumps(to_json_tree(message))


def test_defaults_on_demand() -> None:
    tree = to_json_tree(message_of("envoy.admin.v3.CommandLineOptions", {"concurrency": 2}), defaults=True)
    assert tree["concurrency"] == 2
    assert tree["config_path"] == "" and tree["mode"] == "Serve" and tree["stats_tag"] == []
    assert "drain_time" not in tree


def test_anys_of_unknown_types_are_shown_as_bytes() -> None:
    message: Any = api.new("google.protobuf.Any")
    assert to_json_tree(message) == {}
    message.type_url, message.value = "a/no.such.Type", b"\x01"
    assert to_json_tree(message) == {"@type": "a/no.such.Type", "value": "AQ=="}
    message.type_url, message.value = TYPE_URL + ROUTER, b"\xff"
    assert to_json_tree(message)["value"] == "/w=="


def test_masks_lead_into_anys() -> None:
    inner = {"@type": TYPE_URL + LISTENER, "name": "l", "stat_prefix": "s", "address": {"pipe": {"path": "/x"}}}
    tree = {"version_info": "1", "listener": inner}
    message = message_of("envoy.admin.v3.ListenersConfigDump.DynamicListenerState", tree)
    assert trim(message, ["listener.name", "listener.address"])
    assert to_json_tree(message) == {"listener": {key: inner[key] for key in ("@type", "name", "address")}}


@pytest.mark.parametrize("path", ["nothing", "name.deeper", "filter_chains.filters", "metadata.filter_metadata.x", ""])
def test_masks_that_cannot_be_applied(path: str) -> None:
    message = message_of(LISTENER, {"name": "l"})
    assert not trim(message, [path])
    assert to_json_tree(message) == {"name": "l"}
