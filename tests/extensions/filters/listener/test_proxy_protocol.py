"""PROXY protocol listener filter: garbage, oversize and every prefix of a header."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies

from outrider.data.address import ip_address
from outrider.extensions.filters.listener.proxy_protocol import (
    TLV_KEY,
    ProxyProtocol,
    ProxyProtocolSettings,
    ProxyProtocolStats,
    Rule,
    TlvState,
)
from outrider.network.connection import STATE_CLOSED
from outrider.network.proxy_protocol import (
    LOCAL_V2,
    OPTIONS_KEY,
    BadHeader,
    NeedMore,
    ProxyHeader,
    Tlv,
    TlvChoice,
    header_v1,
    header_v2,
    parse_v1,
    parse_v2,
    version_of,
)
from outrider.stats.store import Store
from tests.network.test_listener_filters import Bench

CLIENT = ip_address("1.2.3.4", 4000)
SERVER = ip_address("5.6.7.8", 80)
SIX = ip_address("2001:db8::1", 9)
V1 = header_v1(CLIENT, SERVER)
V2 = header_v2(CLIENT, SERVER, [Tlv(2, b"a.test"), Tlv(224, b"x" * 3000)])


def bench(**options: object) -> tuple[Bench, Store]:
    store = Store()
    configured = ProxyProtocolSettings(ProxyProtocolStats(store, ""))
    for name, value in options.items():
        assert hasattr(configured, name)
        setattr(configured, name, value)
    return Bench(ProxyProtocol(configured)), store


def test_lines_and_headers_as_the_specification_has_them() -> None:
    assert V1 == b"PROXY TCP4 1.2.3.4 5.6.7.8 4000 80\r\n"
    assert header_v1(SIX, SIX) == b"PROXY TCP6 2001:db8::1 2001:db8::1 9 9\r\n"
    assert header_v2(CLIENT, SERVER, []) == (
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x0f\xa0\x00\x50"
    )
    assert header_v2(SIX, SIX, [])[12:16] == b"\x21\x21\x00\x24"
    assert parse_v2(LOCAL_V2).source is None


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_every_cut_waits_and_nothing_behind_is_lost(header: bytes) -> None:
    for cut in range(1, len(header), 7):
        scene, store = bench()
        scene.receive(header[:cut])
        assert scene.owner.outcome == ""
        scene.receive(header[cut:] + b"rest")
        assert scene.owner.outcome == "done"
        assert scene.owner.data == b"rest"
        assert scene.info.remote_address == CLIENT
        assert scene.info.local_address == SERVER
        assert scene.connection.bytes_received == 4
        version = 1 if header is V1 else 2
        assert store.counter(f"proxy_proto.versions.v{version}.found").value == 1


def test_an_extension_that_does_not_fit_is_left_out() -> None:
    header = parse_v2(header_v2(CLIENT, SERVER, [Tlv(1, b"x" * 65530), Tlv(2, b"y")]))
    assert [(tlv.kind, tlv.value) for tlv in header.tlvs] == [(2, b"y")]


def test_rules_store_the_first_value_of_their_kind() -> None:
    scene, _ = bench(rules=[Rule(2, "ns", "name", False), Rule(5, "ns", "raw", True)])
    scene.receive(header_v2(CLIENT, SERVER, [Tlv(2, b"a\xff"), Tlv(2, b"second"), Tlv(5, b"\x00\x01")]))
    assert scene.info.metadata == {"ns": {"name": "a!", "raw": "AAE="}}


def test_values_in_filter_state() -> None:
    scene, _ = bench(rules=[Rule(2, "ns", "name", False)], into_filter_state=True)
    scene.receive(header_v2(CLIENT, SERVER, [Tlv(2, b"v")]))
    assert scene.info.metadata is None
    assert scene.info.filter_state is not None
    state = scene.info.filter_state[TLV_KEY]
    assert isinstance(state, TlvState)
    assert state.field("name") == "v"
    assert state.field("other") is None


@pytest.mark.parametrize(
    ("passed", "kinds"),
    [(None, []), (TlvChoice(True, []), [2, 224]), (TlvChoice(False, [224]), [224])],
)
def test_what_is_kept_for_upstreams(passed: TlvChoice | None, kinds: list[int]) -> None:
    scene, _ = bench(passed=passed)
    scene.receive(V2)
    assert scene.info.filter_state is not None
    header = scene.info.filter_state[OPTIONS_KEY]
    assert isinstance(header, ProxyHeader)
    assert [tlv.kind for tlv in header.tlvs] == kinds


def test_a_line_that_never_ends_is_bounded() -> None:
    scene, store = bench()
    scene.receive(b"PROXY TCP4 " + b"1" * 96)
    assert scene.owner.outcome == ""
    scene.receive(b"1")
    assert scene.connection.state == STATE_CLOSED
    assert store.counter("proxy_proto.versions.v1.error").value == 1
    assert store.counter("downstream_cx_proxy_proto_error").value == 1


@settings(max_examples=200, deadline=None)
@given(
    strategies.binary(max_size=300),
    strategies.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", V2[:12], V2[:16], V2[:20]]),
)
def test_garbage_is_refused_or_waited_for(data: bytes, start: bytes) -> None:
    """No other exception, and nothing claimed that is not there."""
    whole = start + data
    try:
        version = version_of(whole)
        if version == 0:
            return
        header = parse_v1(whole) if version == 1 else parse_v2(whole)
    except (NeedMore, BadHeader):
        return
    assert 0 < header.size <= len(whole)
    if header.source is not None:
        assert 0 <= header.source.port <= 65535
