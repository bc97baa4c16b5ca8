"""Choosing a filter chain: Envoy's order of criteria, the most specific value first, no second try further up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.data.address import Address, ip_address, pipe_address
from outrider.data.stream_info import ConnectionInfo
from outrider.network.filter_chain import (
    SOURCE_EXTERNAL,
    SOURCE_SAME_IP_OR_LOOPBACK,
    FilterChain,
    FilterChainMatcher,
    MatchCriteria,
    OverlapError,
    is_same_ip_or_loopback,
)
from outrider.network.transport_socket import RAW_BUFFER


def chain(name: str) -> FilterChain:
    return FilterChain(name, RAW_BUFFER, [])


def criteria(**values: object) -> MatchCriteria:
    made = MatchCriteria()
    for name, value in values.items():
        assert hasattr(made, name)
        setattr(made, name, value)
    return made


def matcher(default: str | None = None, **chains: MatchCriteria) -> FilterChainMatcher:
    made = FilterChainMatcher(chain(default) if default else None)
    for name, each in chains.items():
        made.add(each, chain(name))
    return made


def connection(
    local: str = "10.0.0.1:443",
    remote: str = "192.168.7.9:5000",
    sni: str = "",
    transport: str = "raw_buffer",
    alpn: tuple[str, ...] = (),
) -> ConnectionInfo:
    info = ConnectionInfo(1, address(local), address(remote))
    info.requested_server_name = sni
    info.transport_protocol = transport
    info.application_protocols = list(alpn)
    return info


def address(text: str) -> Address:
    if text.startswith("/"):
        return pipe_address(text)
    host, _, port = text.rpartition(":")
    return ip_address(host.strip("[]"), int(port))


def find(made: FilterChainMatcher, info: ConnectionInfo) -> str | None:
    found = made.find(info)
    return found.name if found is not None else None


def test_one_chain_without_criteria_takes_everything() -> None:
    made = matcher(a=criteria())
    assert find(made, connection()) == "a"
    assert find(made, connection(local="/run/x.sock", remote="/")) == "a"


def test_destination_port_beats_no_port_and_does_not_fall_back_to_it() -> None:
    made = matcher(
        a=criteria(destination_port=443, server_names=["a.com"]), b=criteria(server_names=["b.com"]), default="d"
    )
    assert find(made, connection(sni="a.com")) == "a"
    # Port 443 is taken by `a`: that its names do not fit leads to the default, not to `b`.
    assert find(made, connection(sni="b.com")) == "d"
    assert find(made, connection(local="10.0.0.1:80", sni="b.com")) == "b"


def test_longest_destination_prefix_wins() -> None:
    made = matcher(
        wide=criteria(destination_prefixes=[("10.0.0.0", 8)]),
        narrow=criteria(destination_prefixes=[("10.1.0.0", 16), ("fd00::", 8)]),
        any=criteria(),
    )
    assert find(made, connection(local="10.1.2.3:1")) == "narrow"
    assert find(made, connection(local="10.2.2.3:1")) == "wide"
    assert find(made, connection(local="11.2.2.3:1")) == "any"
    assert find(made, connection(local="[fd12::1]:1")) == "narrow"
    assert find(made, connection(local="[fe80::1]:1")) == "any"


def test_server_names_exact_then_longest_suffix_then_none() -> None:
    made = matcher(
        exact=criteria(server_names=["www.example.com"]),
        sub=criteria(server_names=["*.example.com"]),
        com=criteria(server_names=["*.com"]),
        none=criteria(),
    )
    assert find(made, connection(sni="www.example.com")) == "exact"
    assert find(made, connection(sni="a.b.example.com")) == "sub"
    assert find(made, connection(sni="example.com")) == "com"
    assert find(made, connection(sni="example.org")) == "none"
    assert find(made, connection(sni="")) == "none"


def test_transport_protocol_then_application_protocols_in_the_clients_order() -> None:
    made = matcher(
        h2=criteria(transport_protocol="tls", application_protocols=["h2"]),
        h1=criteria(transport_protocol="tls", application_protocols=["http/1.1"]),
        tls=criteria(transport_protocol="tls"),
        raw=criteria(transport_protocol="raw_buffer"),
    )
    assert find(made, connection(transport="tls", alpn=("h2", "http/1.1"))) == "h2"
    assert find(made, connection(transport="tls", alpn=("http/1.1", "h2"))) == "h1"
    assert find(made, connection(transport="tls", alpn=("spdy",))) == "tls"
    assert find(made, connection(alpn=("h2",))) == "raw"


def test_source_type() -> None:
    made = matcher(
        local=criteria(source_type=SOURCE_SAME_IP_OR_LOOPBACK), external=criteria(source_type=SOURCE_EXTERNAL)
    )
    assert find(made, connection(remote="127.0.0.1:9")) == "local"
    assert find(made, connection(remote="10.0.0.1:9")) == "local"
    assert find(made, connection(remote="10.0.0.2:9")) == "external"
    assert find(made, connection(remote="/client.sock")) == "local"


def test_source_prefix_and_port() -> None:
    made = matcher(
        port=criteria(source_prefixes=[("192.168.0.0", 16)], source_ports=[5000]),
        prefix=criteria(source_prefixes=[("192.168.0.0", 16)]),
        direct=criteria(direct_source_prefixes=[("172.16.0.0", 12)]),
    )
    assert find(made, connection()) == "port"
    assert find(made, connection(remote="192.168.7.9:5001")) == "prefix"
    assert find(made, connection(remote="172.16.3.4:1")) == "direct"
    assert find(made, connection(remote="8.8.8.8:1")) is None


def test_the_direct_source_is_the_real_peer() -> None:
    made = matcher(a=criteria(direct_source_prefixes=[("172.16.0.0", 12)]))
    info = connection(remote="172.16.0.1:1")
    info.remote_address = address("8.8.8.8:1")
    assert find(made, info) == "a"


def test_the_default_chain_takes_the_rest() -> None:
    assert find(matcher(default="d"), connection()) == "d"
    assert find(matcher(default="d", a=criteria(destination_port=1)), connection()) == "d"
    assert find(matcher(a=criteria(destination_port=1)), connection()) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {}),
        ({"source_ports": [1, 2]}, {"source_ports": [2, 3]}),
        ({"server_names": ["a.com", "b.com"]}, {"server_names": ["b.com"]}),
        ({"destination_prefixes": [("10.0.0.0", 8)]}, {"destination_prefixes": [("10.1.2.3", 8)]}),
    ],
)
def test_overlaps_are_refused(one: dict[str, object], other: dict[str, object]) -> None:
    made = matcher(a=criteria(**one))
    with pytest.raises(OverlapError):
        made.add(criteria(**other), chain("b"))


def test_a_malformed_prefix_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="zz"):
        matcher(a=criteria(destination_prefixes=[("zz", 3)]))


def test_only_the_canonical_loopback_is_local() -> None:
    assert is_same_ip_or_loopback(connection(remote="[::1]:3", local="[::2]:3"))
    assert not is_same_ip_or_loopback(connection(remote="127.0.0.2:3"))


@given(
    st.lists(
        st.tuples(st.integers(0, 32), st.integers(0, 2**32 - 1)), min_size=1, max_size=12, unique_by=lambda each: each
    ),
    st.integers(0, 2**32 - 1),
)
def test_prefix_choice_equals_a_plain_scan(prefixes: list[tuple[int, int]], target: int) -> None:
    made = FilterChainMatcher()
    known: dict[tuple[int, int], str] = {}
    for length, network in prefixes:
        key = (length, network >> (32 - length) if length else 0)
        if key in known:
            continue
        known[key] = f"{length}/{network}"
        host = ".".join(str(network >> shift & 255) for shift in (24, 16, 8, 0))
        made.add(criteria(destination_prefixes=[(host, length)]), chain(known[key]))
    fitting = [key for key in known if (target >> (32 - key[0]) if key[0] else 0) == key[1]]
    expected = known[max(fitting)] if fitting else None
    host = ".".join(str(target >> shift & 255) for shift in (24, 16, 8, 0))
    assert find(made, connection(local=f"{host}:80")) == expected
