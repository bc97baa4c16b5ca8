
"""PROXY headers: accepted, refused, stored, sent upstream."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, Json, bootstrap, cluster, file_log, http, listener, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get
from tests.support.raw_client import Contains, ShutdownWrite
from tests.support.upstream import EchoTunnel

LOG = (
    "remote=%DOWNSTREAM_REMOTE_ADDRESS% direct=%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% local=%DOWNSTREAM_LOCAL_ADDRESS%"
    " in=%BYTES_RECEIVED% wire=%DOWNSTREAM_WIRE_BYTES_RECEIVED% meta=%DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol)%"
    " own=%DYNAMIC_METADATA(own:kept)% field=%FILTER_STATE(envoy.network.proxy_protocol.tlv:FIELD:kept)% flags=%RESPONSE_FLAGS%\n"
)
RULES = "rules: [{tlv_type: 2, on_tlv_present: {key: authority}}, {tlv_type: 224, on_tlv_present: {metadata_namespace: own, key: kept}}]"

WEB = "[{name: all, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: v1}}]}]"


def behind(name: str, options: str = "", target: str = "up") -> Json:
    tcp: Json = {
        "@type": TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": name, "access_log": [file_log(LOG)],
        "cluster": target,
    }
    made = listener(name, {"name": "envoy.filters.network.tcp_proxy", "typed_config": tcp})
    made["listener_filters"] = [proxy_filter(options)]
    return made


def direct(name: str, options: str) -> Json:
    made = behind(name)
    del made["listener_filters"], made["filter_chains"][0]["filters"][0]["typed_config"]["cluster"]
    made["filter_chains"][0]["filters"][0]["typed_config"].update(parse(options))
    return made


def merging(name: str, policy: str) -> Json:
    """224 and 231 are configured; what came in passes."""
    made = behind(name, "pass_through_tlvs: {match_type: INCLUDE_ALL}", "v2")
    made["filter_chains"][0]["filters"][0]["typed_config"].update(
        parse(f"{{proxy_protocol_tlvs: [{{type: 224, value: bWluZQ==}}, {{type: 231, value: bmV3}}], proxy_protocol_tlv_merge_policy: {policy}}}")
    )
    return made


def towards(config: str) -> str:
    kind = TYPE + "extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
    raw = TYPE + "extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    return f"""
transport_socket:
  name: envoy.transport_sockets.upstream_proxy_protocol
  typed_config:
    "@type": {kind}
    config: {config}
    transport_socket: {{name: envoy.transport_sockets.raw_buffer, typed_config: {{"@type": {raw}}}}}
"""


def proxy_filter(options: str = "") -> Json:
    return {
        "name": "envoy.filters.listener.proxy_protocol",
        "typed_config": {"@type": TYPE + "extensions.filters.listener.proxy_protocol.v3.ProxyProtocol", **(parse(options) or {})},
    }


GROUP = SideConfig(
    bootstrap(
        [
            behind("main", RULES),
            behind("state", "{tlv_location: FILTER_STATE, rules: [{tlv_type: 224, on_tlv_present: {key: kept}}]}"),
            behind("optional", "allow_requests_without_proxy_protocol: true"),
            behind("no_v1", "disallowed_versions: [V1]"),
            behind("no_v1_optional", "{disallowed_versions: [V1], allow_requests_without_proxy_protocol: true}"),
            behind("no_v2", "{disallowed_versions: [V2], stat_prefix: mine}"),
            behind("to_v1", target="v1"),
            behind("to_v2", "pass_through_tlvs: {match_type: INCLUDE_ALL}", target="v2"),
            behind("to_v2_some", "pass_through_tlvs: {match_type: INCLUDE, tlv_type: [224, 225]}", target="v2_some"),
            {**http("web_v1", WEB), "listener_filters": [proxy_filter()]},
            http("web_direct_v1", WEB),
            direct("direct_v1", "cluster: v1"),
            direct("direct_formatted", "{cluster: v2, proxy_protocol_tlvs: [{type: 230, format_string: {text_format_source: {inline_string: 'from %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'}}}]}"),
            merging("merge_absent", "ADD_IF_ABSENT"),
            merging("merge_overwrite", "OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD"),
            merging("merge_append", "APPEND_IF_EXISTS_OR_ADD"),
            direct("direct_v2", "{cluster: v2, proxy_protocol_tlvs: [{type: 230, value: dHdv}]}"),
        ],
        [
            cluster("up"),
            cluster("v1", "<<up:up>>", options=towards("{version: V1}")),
            cluster("v2", "<<up:up>>", options=towards("{version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}}")),
            cluster("v2_some", "<<up:up>>", options=towards("{version: V2, pass_through_tlvs: {match_type: INCLUDE, tlv_type: [225, 226]}, added_tlvs: [{type: 225, value: b3du}, {type: 227, value: b25l}]}")),
        ],
    )
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
FOUR = bytes((1, 2, 3, 4, 5, 6, 7, 8)) + (4000).to_bytes(2, "big") + (80).to_bytes(2, "big")
SIX = bytes(15) + b"\x01" + b"\x20\x01\x0d\xb8" + bytes(11) + b"\x02" + (4000).to_bytes(2, "big") + (80).to_bytes(2, "big")


def v2(body: bytes, family: int = 0x11, command: int = 0x21, length: int = -1) -> bytes:
    return SIGNATURE + bytes((command, family)) + (len(body) if length < 0 else length).to_bytes(2, "big") + body


def tlv(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


def ok(name: str, header: bytes, at: str = "main") -> Case:
    """The header is taken off, the rest reaches the upstream."""
    return Case(name, [header + get(), Contains(b"ok"), ShutdownWrite()], listener=at, to_end=True, logs=1)


def bad(name: str, header: bytes, at: str = "main") -> Case:
    """The connection is closed."""
    return Case(name, [header, 0.05], None, responses=0, listener=at, to_end=True, logs=0, response=False, time_within=0.5)


V1 = b"PROXY TCP4 1.2.3.4 5.6.7.8 4000 80\r\n"

CASES = [
    ok("v1", V1),
    ok("v1_six", b"PROXY TCP6 ::1 2001:db8::2 4000 80\r\n"),
    ok("v1_unknown", b"PROXY UNKNOWN\r\n"),
    ok("v1_unknown_with_more", b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"),
    Case("v1_in_pieces", [V1[:3], 0.05, V1[3:20], 0.05, V1[20:] + get(), Contains(b"ok"), ShutdownWrite()], to_end=True, logs=1),
    bad("v1_wrong_family", b"PROXY TCP4 ::1 ::2 4000 80\r\n"),
    bad("v1_unknown_family", b"PROXY UDP4 1.2.3.4 5.6.7.8 4000 80\r\n"),
    bad("v1_port", b"PROXY TCP4 1.2.3.4 5.6.7.8 70000 80\r\n"),
    bad("v1_negative_port", b"PROXY TCP4 1.2.3.4 5.6.7.8 -1 80\r\n"),
    bad("v1_address", b"PROXY TCP4 1.2.3.400 5.6.7.8 1 80\r\n"),
    bad("v1_missing", b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n"),
    bad("v1_too_long", b"PROXY TCP4 " + b"1" * 120 + b"\r\n"),
    bad("garbage", b"GARBAGE that is no header\r\n"),
    bad("http", get()),
    ok("v2", v2(FOUR)),
    ok("v2_six", v2(SIX, 0x21)),
    ok("v2_dgram", v2(FOUR, 0x12)),
    ok("v2_local", v2(b"", 0, 0x20)),
    ok("v2_local_with_body", v2(FOUR, 0x11, 0x20)),
    ok("v2_tlvs", v2(FOUR + tlv(2, b"a.test") + tlv(224, b"kept") + tlv(225, b"not"))),
    ok("v2_tlv_bytes", v2(FOUR + tlv(2, b"a\xff\xfeb") + tlv(224, b""))),
    ok("v2_tlv_twice", v2(FOUR + tlv(2, b"one") + tlv(2, b"two"))),
    ok("v2_tlv_state", v2(FOUR + tlv(224, b"kept")), "state"),
    Case("v2_in_pieces", [v2(FOUR)[:5], 0.05, v2(FOUR)[5:20], 0.05, v2(FOUR)[20:] + get(), Contains(b"ok"), ShutdownWrite()], to_end=True, logs=1),
    ok("v2_large_tlv", v2(FOUR + tlv(225, b"x" * 20000) + tlv(224, b"kept"))),
    bad("v2_version", v2(FOUR, 0x11, 0x31)),
    bad("v2_command", v2(FOUR, 0x11, 0x25)),
    bad("v2_unix", v2(bytes(216), 0x31)),
    bad("v2_unspecified", v2(FOUR, 0x00)),
    bad("v2_transport", v2(FOUR, 0x13)),
    bad("v2_short_addresses", v2(FOUR[:8])),
    bad("v2_tlv_beyond", v2(FOUR + b"\x02\x00\x10ab")),
    bad("v2_tlv_cut", v2(FOUR + b"\x02\x00")),
    ok("optional_with", V1, "optional"),
    ok("optional_without", b"", "optional"),
    bad("optional_bad", b"PROXY TCP4 x\r\n", "optional"),
    bad("no_v1", V1, "no_v1"),
    ok("no_v1_but_v2", v2(FOUR), "no_v1"),
    bad("no_v1_optional", V1, "no_v1_optional"),
    bad("no_v2", v2(FOUR), "no_v2"),
    ok("no_v2_but_v1", V1, "no_v2"),
    bad("no_v2_garbage", b"nothing like it, not at all", "no_v2"),
]

# What the upstream got comes back as it was.
CASES += [
    Case(name, [header + b"\r\n\r\nEND", Contains(b"END"), ShutdownWrite()], None, responses=0, listener=at, to_end=True, logs=1, answers=[[EchoTunnel()]], replace=[(r"127\.0\.0\.1 \d{5} ", "127.0.0.1 {client} "), *extra])
    for name, header, at, extra in [
        ("up_v1", V1, "to_v1", []),
        ("up_v1_six", b"PROXY TCP6 ::1 2001:db8::2 4000 80\r\n", "to_v1", []),
        ("up_v1_local", v2(b"", 0, 0x20), "to_v1", []),
        ("up_v1_direct", b"", "direct_v1", []),
        ("up_v2", V1, "to_v2", []),
        ("up_v2_six", v2(SIX, 0x21), "to_v2", []),
        ("up_v2_tlvs", v2(FOUR + tlv(2, b"a.test") + tlv(224, b"kept")), "to_v2", []),
        ("merge_absent", v2(FOUR + tlv(224, b"theirs") + tlv(225, b"x")), "merge_absent", []),
        ("merge_overwrite", v2(FOUR + tlv(224, b"theirs") + tlv(225, b"x")), "merge_overwrite", []),
        ("merge_append", v2(FOUR + tlv(224, b"theirs") + tlv(225, b"x")), "merge_append", []),
        ("merge_overwrite_nothing", v2(FOUR), "merge_overwrite", []),
        ("up_v2_tlv_twice", v2(FOUR + tlv(2, b"one") + tlv(2, b"two")), "to_v2", []),
        ("up_v2_tlvs_some", v2(FOUR + tlv(224, b"a") + tlv(225, b"b") + tlv(226, b"c")), "to_v2_some", []),
        ("up_v2_no_tlvs", v2(FOUR), "to_v2_some", []),
        ("up_v2_formatted", b"", "direct_formatted", [(r"(?s)(!\\x11\\x00.{1,5}?\\x7f\\x00\\x00\\x01\\x7f\\x00\\x00\\x01).*?(\\xe6)", r"\1{ports}\2")]),
        ("up_v2_direct", b"", "direct_v2", [(r"(?s)(!\\x11\\x00\\x12\\x7f\\x00\\x00\\x01\\x7f\\x00\\x00\\x01).*?(\\xe6)", r"\1{ports}\2")]),
    ]
]
CASES += [
    Case("http_v1", [V1 + get(), Contains(b"ok")], listener="web_v1", replace=[(r"^x-request-id: .*\n", "")]),
    Case("http_v1_reused", [V1 + get(), Contains(b"ok"), get("/2"), Contains(b"second")], [200, 200], responses=2, listener="web_v1", answers=[[answer()], [answer(body=b"second")]]),
    Case("http_v1_other_client", [V1.replace(b"4000", b"4001") + get(), Contains(b"ok")], listener="web_v1"),
    Case("http_direct_v1", [get(), Contains(b"ok")], listener="web_direct_v1", replace=[(r"127\.0\.0\.1 \d{5} ", "127.0.0.1 {client} ")]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_proxy_protocol(pair: Pair, case: Case) -> None:
    pair.check(case)
