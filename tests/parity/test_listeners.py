
"""Listeners: addresses of all kinds, filter chain matches, listener filters, limits, their access logs and statistics."""

from __future__ import annotations

import time

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import FILE_LOG, TYPE, bootstrap, cluster, http, listener, manager
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import Side, SideConfig, wait_for
from tests.support.http1_message import answer, get, post
from tests.support.raw_client import RawClient, Responses, ShutdownWrite
from tests.support.upstream import OK

CHAIN_LOG = f"""
access_log:
- name: log
  filter: {{not_health_check_filter: {{}}}}
  typed_config: {{"@type": {FILE_LOG}, path: <<dir>>/access.log, log_format: {{text_format_source: {{inline_string: "connection %RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %BYTES_RECEIVED% %BYTES_SENT% %PROTOCOL% %ACCESS_LOG_TYPE%\\n"}}}}}}
"""
TLS_INSPECTOR = f"{{name: envoy.filters.listener.tls_inspector, typed_config: {{'@type': {TYPE}extensions.filters.listener.tls_inspector.v3.TlsInspector}}}}"
HTTP_INSPECTOR = f"{{name: envoy.filters.listener.http_inspector, typed_config: {{'@type': {TYPE}extensions.filters.listener.http_inspector.v3.HttpInspector}}}}"


def direct(status: int) -> str:
    return f"[{{name: a, domains: ['*'], routes: [{{match: {{prefix: /}}, direct_response: {{status: {status}}}}}]}}]"


def chains(name: str, *parts: tuple[str, int], options: str = "") -> dict[str, object]:
    """A listener whose filter chains, each with a match in YAML, answer with different codes."""
    found = listener(name, manager(name), options)
    found["filter_chains"] = [
        {"name": f"chain{status}", "filter_chain_match": match, "filters": [manager(f"{name}{status}", direct(status))]}
        for match, status in parts
    ]
    return found


def bootstrap_text() -> str:
    matched = [
        ("<<source>>", 201),
        ("<<local>>", 202),
    ]
    text = bootstrap(
        [
            http("main"),
            http("logged", listener_options=CHAIN_LOG),
            http("more", listener_options="additional_addresses: [{address: {socket_address: {address: 127.0.0.1, port_value: <<port:extra>>}}}]"),
            http("six", listener_options="address: {socket_address: {address: '::1', port_value: <<port:six>>}}"),
            http("any_six", listener_options="address: {socket_address: {address: '::', port_value: <<port:any_six>>, ipv4_compat: true}}"),
            {**http("pipe"), "address": {"pipe": {"path": "<<dir>>/listener.sock", "mode": 0o600}}},
            http("named", listener_options="stat_prefix: my_listener"),
            http("options", listener_options="{tcp_backlog_size: 16, enable_reuse_port: false, traffic_direction: INBOUND, drain_type: MODIFY_ONLY, socket_options: [{level: 1, name: 9, int_value: 1, state: STATE_PREBIND}], max_connections_to_accept_per_socket_event: 1}"),
            http("small_buffer", listener_options="per_connection_buffer_limit_bytes: 1024"),
            http("limited"),
            chains("by_source", *matched),
            chains("nothing", ("<<source>>", 201), options=CHAIN_LOG),
            {**chains("default", ("<<source>>", 201)), "default_filter_chain": {"filters": [manager("default209", direct(209))]}},
            chains("by_protocol", ("<<raw>>", 203), ("<<h1>>", 204), options=f"listener_filters: [{HTTP_INSPECTOR}]"),
            chains("by_tls", ("<<plaintext>>", 205), options=f"listener_filters: [{TLS_INSPECTOR}]"),
            http("slow_filter", listener_options=f"{{listener_filters: [{TLS_INSPECTOR}], listener_filters_timeout: 0.2s}}"),
            http("slow_continue", listener_options=f"{{listener_filters: [{TLS_INSPECTOR}], listener_filters_timeout: 0.2s, continue_on_listener_filters_timeout: true}}"),
        ],
        [cluster("up")],
        "layered_runtime: {layers: [{name: base, static_layer: {envoy.resource_limits.listener.limited.connection_limit: 1}}]}",
    )
    for name, match in {
        "source": '{"source_prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}',
        "local": '{"source_type": "SAME_IP_OR_LOOPBACK"}',
        "raw": '{"transport_protocol": "tls"}',
        "h1": '{"application_protocols": ["http/1.1"]}',
        "plaintext": '{"transport_protocol": "raw_buffer"}',
    }.items():
        text = text.replace(f'"<<{name}>>"', match)
    return text


GROUP = SideConfig(bootstrap_text())

CASES = [
    Case("plain", get()),
    Case("connection_log", get(), listener="logged", logs=2, expect=["connection - "]),
    Case("connection_log_nothing", [0.02, ShutdownWrite()], [], listener="logged", responses=0, to_end=True, logs=1),
    Case("additional_address", get(), listener="extra"),
    Case("ipv6", get(), listener="six", address="::1"),
    Case("ipv4_on_ipv6", get(), listener="any_six"),
    Case("ipv6_any", get(), listener="any_six", address="::1"),
    Case("unix_socket", get(), listener="pipe_unused", address="listener.sock"),
    Case("stat_prefix", get(), listener="named", expect_stats=["listener.my_listener.downstream_cx_total"]),
    Case("options", get(), listener="options"),
    Case("small_buffer_request", post(body=b"x" * 100_000), listener="small_buffer", ignore_stats=["flow_control"]),
    Case("small_buffer_response", get(), listener="small_buffer", answers=[[answer(body=b"y" * 100_000)]], ignore_stats=["flow_control"]),
    Case("source_type", get(), 202, listener="by_source"),
    # Both close at once; whether the client's bytes arrive before (RST) or after (FIN) is a matter of timing.
    Case("no_chain", get(), [], listener="nothing", responses=0, to_end=True, logs=1, response=False, expect_stats=["listener.127.0.0.1_{port:nothing}.no_filter_chain_match"]),
    Case("default_chain", get(), 209, listener="default"),
    Case("application_protocol", get(), 204, listener="by_protocol"),
    # Envoy has only peeked at the bytes, so its close makes Linux send RST; ours has read them and sends FIN.
    Case("application_protocol_none", b"nonsense\r\n\r\n", [], listener="by_protocol", responses=0, to_end=True, logs=0, response=False),
    Case("transport_protocol", get(), 205, listener="by_tls"),
    Case("filter_timeout", [], [], listener="slow_filter", responses=0, to_end=True, time_within=0.3),
    Case("filter_timeout_continue", [0.3, get()], 200, listener="slow_continue"),
    Case("filter_early_close", [b"\x16", 0.05, ShutdownWrite()], [], listener="slow_filter", responses=0, to_end=True, response=False),
    Case("filter_data", [get()[:3], 0.05, get()[3:]], 200, listener="slow_filter"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_listeners(pair: Pair, case: Case) -> None:
    pair.check(case)


def test_connection_limit(pair: Pair) -> None:
    """The second connection is closed at once; a third after the first has left is served."""

    def counter(side: Side) -> int:
        return side.stats().get(f"listener.127.0.0.1_{side.port_of('port:limited')}.downstream_cx_overflow", 0)

    def served(side: Side, client: RawClient) -> bool:
        side.run_upstreams([OK])
        client.run([get(), Responses(1)])
        return client.transcript.received.startswith(b"HTTP/1.1 200")

    for side in pair.sides:
        address = ("127.0.0.1", side.port_of("port:limited"))
        first = RawClient(address)
        assert served(side, first), side.kind
        second = RawClient(address)
        second.read_to_end(2.0)
        second.close()
        assert second.transcript.end in ("eof", "reset"), side.kind
        assert wait_for(lambda side=side: counter(side) == 1, 2.0), side.kind
        first.close()
        time.sleep(0.1)
        third = RawClient(address)
        assert served(side, third), side.kind
        third.close()
