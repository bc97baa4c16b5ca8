"""UDP: the same datagrams to both proxies, compared by what comes back, logs and statistics."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parity.harness.config import TYPE, Json, bootstrap, cluster, file_log, http
from tests.parity.harness.side import Side, SideConfig

SESSION = (
    "session %ACCESS_LOG_TYPE% %RESPONSE_FLAGS% cluster=%UPSTREAM_CLUSTER% in=%BYTES_RECEIVED% out=%BYTES_SENT%"
    " from=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DYNAMIC_METADATA(udp.proxy.session)%\n"
)
TUNNEL_END = (
    "tunnel %REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %REQ(UPGRADE)% %REQ(CAPSULE-PROTOCOL)%"
    " in=%BYTES_RECEIVED% out=%BYTES_SENT%\n"
)
CAPSULE = {
    "name": "envoy.filters.udp.session.http_capsule",
    "typed_config": {"@type": TYPE + "extensions.filters.udp.udp_proxy.session.http_capsule.v3.FilterConfig"},
}
TUNNEL = {
    "proxy_host": "proxy.test", "target_host": "target.test", "default_target_port": 53, "buffer_options": {},
    "retry_options": {"max_connect_attempts": 2},
}  # fmt: skip
BY_SOURCE = {
    "matcher_list": {
        "matchers": [
            {
                "predicate": {
                    "single_predicate": {
                        "input": {
                            "name": "ip",
                            "typed_config": {
                                "@type": TYPE + "extensions.matching.common_inputs.network.v3.SourceIPInput"
                            },
                        },
                        "value_match": {"exact": "127.0.0.2"},
                    }
                },
                "on_match": {
                    "action": {
                        "name": "route",
                        "typed_config": {"@type": TYPE + "extensions.filters.udp.udp_proxy.v3.Route", "cluster": "two"},
                    }
                },
            }
        ]
    },
    "on_no_match": {
        "action": {
            "name": "route",
            "typed_config": {"@type": TYPE + "extensions.filters.udp.udp_proxy.v3.Route", "cluster": "one"},
        }
    },
}


def udp(name: str, **options: object) -> Json:
    config: Json = {
        "@type": TYPE + "extensions.filters.udp.udp_proxy.v3.UdpProxyConfig",
        "stat_prefix": name,
        "idle_timeout": "0.5s",
        "access_log": [file_log(SESSION)],
        **options,
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": f"<<port:{name}>>", "protocol": "UDP"}},
        "listener_filters": [{"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": config}],
    }


def echo_cluster(name: str, *ports: int, options: str = "") -> Json:
    made = cluster(name, "0", options=options)
    made["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port, "protocol": "UDP"}}}}
        for port in ports
    ]
    return made


class Echo:
    """Answers each datagram with its name and what came."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                data, peer = self.socket.recvfrom(70000)
            except OSError:
                return
            if data == b"quit":
                return
            self.socket.sendto(b"z" * int(data[4:]) if data.startswith(b"big ") else self.name + b":" + data, peer)

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"quit", ("127.0.0.1", self.port))
        self._thread.join(2)
        self.socket.close()


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Side]]:
    one, two = Echo(b"one"), Echo(b"two")
    routes = """
- name: all
  domains: ["*"]
  routes:
  - match: {connect_matcher: {}}
    route: {cluster: one, upgrade_configs: [{upgrade_type: CONNECT-UDP, connect_config: {}}]}
"""
    hcm = http(
        "term", routes, log=[file_log(TUNNEL_END)],
        options="{http2_protocol_options: {allow_connect: true}, upgrade_configs: [{upgrade_type: CONNECT-UDP}]}",
    )  # fmt: skip
    config = bootstrap(
        [
            udp("plain", cluster="one"),
            udp("matched", matcher=BY_SOURCE),
            udp("missing", cluster="absent"),
            udp("empty", cluster="empty"),
            udp("hashed", cluster="ring", hash_policies=[{"source_ip": True}]),
            udp("small", cluster="one", upstream_socket_config={"max_rx_datagram_size": 100, "prefer_gro": False}),
            udp("packets", cluster="both", use_per_packet_load_balancing=True),
            udp("full", cluster="full"),
            udp("tunnel", cluster="h2", session_filters=[CAPSULE], tunneling_config=TUNNEL),
            udp("dead_tunnel", cluster="dead", session_filters=[CAPSULE], tunneling_config=TUNNEL),
            hcm,
        ],
        [
            echo_cluster("one", one.port),
            echo_cluster("two", two.port),
            echo_cluster("both", one.port, two.port),
            echo_cluster("ring", one.port, two.port, options="lb_policy: RING_HASH"),
            echo_cluster("full", one.port, options="circuit_breakers: {thresholds: [{max_connections: 0}]}"),
            cluster("empty", options="load_assignment: {cluster_name: empty}"),
            cluster("dead", "<<refused:a>>"),
            cluster(
                "h2", "<<port:term>>",
                protocol="explicit_http_config: {http2_protocol_options: {allow_connect: true}}",
            ),
        ],
    )  # fmt: skip
    folder: Path = tmp_path_factory.mktemp("udp")
    made = [Side("envoy", SideConfig(config), folder / "envoy"), Side("outrider", SideConfig(config), folder / "outrider")]
    try:
        for side in made:
            side.start()
        yield made
    finally:
        for side in made:
            side.stop()
        one.close()
        two.close()


def exchange(port: int, datagrams: list[bytes], source: str = "127.0.0.1", wait: float = 1.5) -> list[bytes]:
    """The answers, empty for none in time."""
    answers: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((source, 0))
        client.settimeout(wait)
        for data in datagrams:
            client.sendto(data, ("127.0.0.1", port))
            try:
                answers.append(client.recvfrom(70000)[0])
            except TimeoutError:
                answers.append(b"")
    return answers


CASES: dict[str, tuple[str, list[bytes], str]] = {
    "plain": ("plain", [b"a", b"", b"c" * 1400], "127.0.0.1"),
    "too_long": ("plain", [b"x" * 1501, b"after"], "127.0.0.1"),
    "matched_one": ("matched", [b"a"], "127.0.0.1"),
    "matched_two": ("matched", [b"a"], "127.0.0.2"),
    "no_route": ("missing", [b"a"], "127.0.0.1"),
    "no_host": ("empty", [b"a"], "127.0.0.1"),
    "hashed": ("hashed", [b"a", b"b", b"c"], "127.0.0.1"),
    "upstream_too_long": ("small", [b"a" * 90, b"a" * 99, b"b"], "127.0.0.1"),
    "upstream_large": ("plain", [b"big 1501", b"big 9000", b"b"], "127.0.0.1"),
    "full": ("full", [b"a"], "127.0.0.1"),
    "tunnel": ("tunnel", [b"a", b"b" * 1000], "127.0.0.1"),
    "dead_tunnel": ("dead_tunnel", [b"a"], "127.0.0.1"),
}

# The TCP side of tunnels ends when it ends.
_IGNORED = re.compile(r"_bytes_|upstream_cx_|^http\.|http2\.|downstream_cx|_active$|upstream_rq_(pending|total|active|tx)")


def observe(side: Side, case: tuple[str, list[bytes], str]) -> tuple[list[bytes], list[str], dict[str, int]]:
    listener, datagrams, source = case
    assert side.process is not None
    side.mark()
    before = _stats(side)
    answers = exchange(side.port_of(f"port:{listener}"), datagrams, source)
    # The session ends, and is logged.
    time.sleep(1.0)
    deadline = time.monotonic() + 12
    lines: list[str] = []
    while time.monotonic() < deadline:
        lines = [line for line in side.new_log_lines() if line.startswith("session")]
        if lines or listener in ("missing", "empty", "full"):
            break
        time.sleep(0.2)
    after = _stats(side)
    changed = {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}
    return answers, lines, changed


def _stats(side: Side) -> dict[str, int]:
    assert side.process is not None
    port_names = {str(side.port_of(f"port:{name}")): name for name in ("plain", "matched", "small", "tunnel", "full", "term")}
    values: dict[str, int] = {}
    for line in side.process.admin("/stats").body.splitlines():
        name, separator, value = line.rpartition(": ")
        if separator and value.isdigit() and re.match(r"^(udp\.|listener\.|cluster\.)", name) and not _IGNORED.search(name):
            for port, own in port_names.items():
                name = name.replace(f"127.0.0.1_{port}", own)
            values[name] = int(value)
    return values


@pytest.mark.parametrize("name", list(CASES))
def test_udp(sides: list[Side], name: str) -> None:
    envoy, outrider = [observe(side, CASES[name]) for side in sides]
    assert outrider[0] == envoy[0]
    assert outrider[1] == envoy[1]
    assert outrider[2] == envoy[2]


def test_per_packet_balancing_uses_both_hosts(sides: list[Side]) -> None:
    for side in sides:
        answers = exchange(side.port_of("port:packets"), [b"a", b"b", b"c", b"d"])
        assert {answer[:3] for answer in answers} == {b"one", b"two"}, side.kind
