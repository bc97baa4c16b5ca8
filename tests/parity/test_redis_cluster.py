"""The Redis proxy before a real Redis cluster: slots, reads of replicas, slots that move."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parity.harness.config import Json, bootstrap
from tests.parity.harness.side import Side, SideConfig
from tests.parity.test_redis import command, redis, talk
from tests.support.ports import free_port

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")


class RedisClusterServers:
    """Three masters that share the slots."""

    def __init__(self, folder: Path) -> None:
        self.ports = [free_port() for _ in range(3)]
        self.bus = [free_port() for _ in range(3)]
        self.processes: list[subprocess.Popen[bytes]] = []
        try:
            self._form(folder)
        except BaseException:
            self.close()
            raise

    def _form(self, folder: Path) -> None:
        for port, bus in zip(self.ports, self.bus, strict=True):
            place = folder / str(port)
            place.mkdir()
            self.processes.append(
                subprocess.Popen(
                    [
                        "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                        "--cluster-enabled", "yes", "--cluster-port", str(bus),
                    ],
                    cwd=place, stdout=subprocess.DEVNULL,
                )
            )  # fmt: skip
        for port, (start, end) in zip(self.ports, ((0, 5460), (5461, 10922), (10923, 16383)), strict=True):
            self.ask(port, f"CLUSTER ADDSLOTSRANGE {start} {end}")
        for port, bus in zip(self.ports[1:], self.bus[1:], strict=True):
            self.ask(self.ports[0], f"CLUSTER MEET 127.0.0.1 {port} {bus}")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if all(b"cluster_state:ok" in self.ask(port, "CLUSTER INFO") for port in self.ports):
                return
            time.sleep(0.2)
        raise AssertionError("the Redis cluster does not come up")

    def ask(self, port: int, words: str) -> bytes:
        for _ in range(100):
            with contextlib.suppress(OSError):
                return talk(port, [words])[0]
            time.sleep(0.05)
        raise AssertionError("no Redis server")

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisClusterServers]:
    made = RedisClusterServers(tmp_path_factory.mktemp("redis_cluster"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory, servers: RedisClusterServers) -> Iterator[list[Side]]:
    cluster_config: Json = {
        "name": "slots",
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.redis",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.clusters.redis.v3.RedisClusterConfig",
                "cluster_refresh_rate": "2s",
                "cluster_refresh_timeout": "1s",
            },
        },
        "load_assignment": {
            "cluster_name": "slots",
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
                        for port in servers.ports[:1]
                    ]
                }
            ],
        },
    }
    config = bootstrap(
        [
            redis(
                "main", {"catch_all_route": {"cluster": "slots"}},
                {"enable_hashtagging": True, "enable_redirection": True, "enable_command_stats": True},
            ),
            redis("reads", {"catch_all_route": {"cluster": "slots"}}, {"read_policy": "PREFER_REPLICA"}),
        ],
        [cluster_config],
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("redis_cluster_sides")
    made = [Side(kind, SideConfig(config), folder / kind) for kind in ("envoy", "outrider")]
    try:
        for side in made:
            side.start()
        yield made
    finally:
        for side in made:
            side.stop()


def test_every_slot_is_found(sides: list[Side]) -> None:
    for side in sides:
        port = side.port_of("port:main")
        keys = [f"{side.kind}-{n}" for n in range(60)]
        assert talk(port, [f"set {key} {key}" for key in keys]) == [b"+OK\r\n"] * 60, side.kind
        assert talk(port, ["mget " + " ".join(keys[:3])]) == [
            b"*3\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(key), key.encode()) for key in keys[:3])
        ], side.kind
        assert side.process is not None
        # None of them was sent to the wrong server first.
        stats = side.process.admin("/stats").body
        assert "cluster.slots.upstream_internal_redirect_succeeded_total: 0" in stats, side.kind
        assert "cluster.slots.membership_total: 3" in stats, side.kind


def test_reads_without_replicas(sides: list[Side]) -> None:
    for side in sides:
        port = side.port_of("port:reads")
        assert talk(port, ["set r 1", "get r"]) == [b"+OK\r\n", b"$1\r\n1\r\n"], side.kind


def test_a_slot_that_moves_is_followed(sides: list[Side], servers: RedisClusterServers) -> None:
    """Slot 0 ("{06S}") goes from the first to the second server; commands follow MOVED at once."""
    ids = [servers.ask(port, "CLUSTER MYID").split(b"\r\n")[1].decode() for port in servers.ports]
    for port in servers.ports:
        servers.ask(port, f"CLUSTER SETSLOT 0 NODE {ids[1]}")
    for side in sides:
        answers = talk(side.port_of("port:main"), [command("set", "{06S}", side.kind), command("get", "{06S}")])
        assert answers == [b"+OK\r\n", b"$%d\r\n%s\r\n" % (len(side.kind), side.kind.encode())], side.kind
