"""The DNS filter: the same queries to both proxies, the same answers."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.parity.harness.config import TYPE, Json, bootstrap
from tests.parity.harness.side import Side, SideConfig
from tests.support.dns_server import Zone

A, AAAA, MX = 1, 28, 15

TABLE: Json = {
    "virtual_domains": [
        {
            "name": "www.one.test", "endpoint": {"address_list": {"address": ["10.0.0.1", "10.0.0.2"]}},
            "answer_ttl": "30s",
        },
        {"name": "six.one.test", "endpoint": {"address_list": {"address": ["2001:db8::1"]}}},
        {"name": "*.wild.test", "endpoint": {"address_list": {"address": ["10.0.0.9"]}}},
        {"name": "cluster.one.test", "endpoint": {"cluster_name": "up"}},
        {"name": "many.test", "endpoint": {"address_list": {"address": [f"10.1.0.{n}" for n in range(1, 60)]}}},
    ]
}  # fmt: skip


def dns_listener(name: str, **options: object) -> Json:
    config: Json = {
        "@type": TYPE + "extensions.filters.udp.dns_filter.v3.DnsFilterConfig",
        "stat_prefix": name,
        "server_config": {"inline_dns_table": TABLE},
        "client_config": {
            "max_pending_lookups": 16,
            "resolver_timeout": "1s",
            "typed_dns_resolver_config": {
                "name": "envoy.network.dns_resolver.cares",
                "typed_config": {
                    "@type": TYPE + "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                    "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": "<<dns>>"}}],
                    "dns_resolver_options": {"no_default_search_domain": True},
                },
            },
        },
        **options,
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": f"<<port:{name}>>", "protocol": "UDP"}},
        "listener_filters": [{"name": "envoy.filters.udp.dns_filter", "typed_config": config}],
    }


def query(name: str, kind: int = A, flags: int = 0x0100, query_class: int = 1, count: int = 1) -> bytes:
    encoded = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    return struct.pack("!6H", 4711, flags, count, 0, 0, 0) + encoded + struct.pack("!HH", kind, query_class)


CASES: dict[str, tuple[str, bytes]] = {
    "addresses": ("main", query("www.one.test")),
    "upper_case": ("main", query("WWW.One.test")),
    "ignored_case": ("lenient", query("WWW.One.test")),
    "other_family": ("main", query("www.one.test", AAAA)),
    "six": ("main", query("six.one.test", AAAA)),
    "wildcard": ("main", query("any.wild.test")),
    "cluster": ("main", query("cluster.one.test")),
    "external": ("main", query("external.test")),
    "external_missing": ("main", query("nosuch.test")),
    "external_failing": ("main", query("failing.test")),
    "unsupported": ("main", query("www.one.test", MX)),
    "too_short": ("main", b"abc"),
    "cut": ("main", query("www.one.test")[:20]),
    "response": ("main", query("www.one.test", flags=0x8180)),
    "two_questions": ("main", query("www.one.test", count=2)),
    "chaos": ("main", query("www.one.test", query_class=3)),
    "pointer": ("main", struct.pack("!6H", 1, 0x100, 1, 0, 0, 0) + b"\xc0\x0c" + struct.pack("!HH", 1, 1)),
    "long_label": ("main", struct.pack("!6H", 1, 0x100, 1, 0, 0, 0) + b"\xff" + b"a" * 300),
}


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Side]]:
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": f"127.0.0.{n}", "port_value": 9}}}} for n in (7, 8)
    ]
    up = {
        "name": "up", "type": "STATIC",
        "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": endpoints}]},
    }  # fmt: skip
    config = bootstrap([dns_listener("main"), dns_listener("lenient", case_insensitive=True)], [up])
    zones = {"external.test": Zone(["10.9.9.9"], ttl=77), "failing.test": Zone(failing=True)}
    folder = tmp_path_factory.mktemp("dns_filter")
    made = [Side(kind, SideConfig(config, zones=zones), folder / kind) for kind in ("envoy", "outrider")]
    try:
        for side in made:
            side.start()
        yield made
    finally:
        for side in made:
            side.stop()


def ask(port: int, data: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(4)
        client.sendto(data, ("127.0.0.1", port))
        return client.recvfrom(4096)[0]


def _stats(side: Side) -> dict[str, int]:
    assert side.process is not None
    pairs = (line.rpartition(": ") for line in side.process.admin("/stats").body.splitlines())
    return {name: int(value) for name, _, value in pairs if name.startswith("dns_filter.") and value.isdigit()}


@pytest.mark.parametrize("name", list(CASES))
def test_dns_filter(sides: list[Side], name: str) -> None:
    listener, data = CASES[name]
    seen: list[tuple[bytes, dict[str, int]]] = []
    for side in sides:
        before = _stats(side)
        answer = ask(side.port_of(f"port:{listener}"), data)
        time.sleep(0.1)
        after = _stats(side)
        seen.append((answer, {key: after[key] - before[key] for key in after if after[key] != before.get(key)}))
    # Envoy begins with any of the addresses.
    assert sorted(seen[1][0]) == sorted(seen[0][0])
    if name != "response":
        assert seen[1][1] == seen[0][1]


def test_long_answers_are_cut_to_what_a_datagram_holds(sides: list[Side]) -> None:
    for side in sides:
        answer = ask(side.port_of("port:main"), query("many.test"))
        assert len(answer) <= 512, side.kind
        assert struct.unpack_from("!H", answer, 6)[0] > 5, side.kind
