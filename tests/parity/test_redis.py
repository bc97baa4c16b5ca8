"""The Redis proxy before real Redis servers: the same commands to both proxies, the same answers and statistics."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.parity.harness.config import TYPE, Json, bootstrap, cluster, listener
from tests.parity.harness.side import Side, SideConfig
from tests.support.ports import free_port

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")


def redis(name: str, routes: Json, settings: Json | None = None, **options: object) -> Json:
    config: Json = {
        "@type": TYPE + "extensions.filters.network.redis_proxy.v3.RedisProxy",
        "stat_prefix": name,
        "settings": {"op_timeout": "1s", **(settings or {})},
        "prefix_routes": routes,
        **options,
    }
    return listener(name, {"name": "envoy.filters.network.redis_proxy", "typed_config": config})


class Servers:
    """Redis servers, one for each of the two sides and names."""

    def __init__(self) -> None:
        self.ports = {name: free_port() for name in ("a", "b", "mirror")}
        self.processes = [
            subprocess.Popen(
                ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"],
                stdout=subprocess.DEVNULL,
            )
            for port in self.ports.values()
        ]
        for port in self.ports.values():
            for _ in range(100):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.05)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def _config(servers: Servers) -> str:
    a, b, mirror = (str(servers.ports[name]) for name in ("a", "b", "mirror"))
    return bootstrap(
        [
            redis(
                "main",
                {
                    "routes": [
                        {"prefix": "b:", "cluster": "b", "remove_prefix": True},
                        {"prefix": "gone:", "cluster": "dead"},
                        {"prefix": "empty:", "cluster": "empty"},
                        {
                            "prefix": "m:", "cluster": "a",
                            "request_mirror_policy": [{"cluster": "mirror", "exclude_read_commands": True}],
                        },
                    ],
                    "catch_all_route": {"cluster": "a"},
                },
                {"enable_hashtagging": True, "enable_command_stats": True},
            ),
            redis("strict", {"routes": [{"prefix": "only", "cluster": "a"}]}),
            redis("auth", {"catch_all_route": {"cluster": "a"}}, downstream_auth_passwords=[{"inline_string": "secret"}]),
            redis(
                "user", {"catch_all_route": {"cluster": "a"}}, downstream_auth_username={"inline_string": "u"},
                downstream_auth_password={"inline_string": "secret"},
            ),
            redis(
                "faulty", {"catch_all_route": {"cluster": "a"}},
                faults=[
                    {
                        "fault_type": "ERROR", "commands": ["GET"],
                        "fault_enabled": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
                    }
                ],
            ),
        ],
        [
            cluster("a", a, options="lb_policy: MAGLEV"),
            cluster("b", b, options="lb_policy: MAGLEV"),
            cluster("mirror", mirror),
            cluster("dead", "<<refused:a>>"),
            cluster("empty", options="load_assignment: {cluster_name: empty}"),
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Side, Servers]]]:
    folder = tmp_path_factory.mktemp("redis")
    made: list[tuple[Side, Servers]] = []
    try:
        for kind in ("envoy", "outrider"):
            servers = Servers()
            side = Side(kind, SideConfig(_config(servers)), folder / kind)
            made.append((side, servers))
            side.start()
        yield made
    finally:
        for side, servers in made:
            side.stop()
            servers.close()


def command(*arguments: str) -> bytes:
    return b"*%d\r\n" % len(arguments) + b"".join(b"$%d\r\n%s\r\n" % (len(each), each.encode()) for each in arguments)


def talk(port: int, commands: list[str | bytes]) -> list[bytes]:
    """One answer for each command; empty when the connection was closed."""
    answers: list[bytes] = []
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(3)
        for each in commands:
            client.sendall(each if isinstance(each, bytes) else command(*each.split(" ")))
            try:
                answers.append(client.recv(65536))
            except (TimeoutError, ConnectionError) as error:
                answers.append(type(error).__name__.encode())
    return answers


CASES: dict[str, tuple[str, list[str | bytes]]] = {
    "strings": ("main", ["set a 1", "get a", "GET nope", "incr a", "append a x", "get a", "del a"]),
    "several": ("main", ["mset x 1 y 2 z 3", "mget x y nope z", "exists x y", "touch x", "unlink x", "del y z q"]),
    "types": ("main", ["lpush l 1 2", "lrange l 0 -1", "hset h f v", "hgetall h", "type h", "object encoding h", "del l h"]),
    "prefix": ("main", ["set b:k v", "get b:k", "get k", "set {tag}x 1", "get {tag}x"]),
    "server_errors": ("main", ["set a", "set a 1", "lpush a 1", "get a"]),
    "invalid": ("main", ["get", b"*1\r\n:1\r\n", b"*-1\r\n", b"+PING\r\n", "FOO bar", "foo", "eval x 0", "mset a"]),
    "own": ("main", ["PING", "ping hi", "ECHO a", b"PING\r\n", "auth x", "auth u x", "quit"]),
    "unreachable": ("main", ["get gone:1", "mget a gone:2", "mset a 1 gone:2 2", "del gone:1"]),
    "no_host": ("main", ["get empty:1"]),
    "no_route": ("strict", ["get other", "set only1 1", "get only1"]),
    "transaction": ("main", ["multi", "set t 1", "get t", "exec", "get t"]),
    "discarded": ("main", ["multi", "discard", "exec", "discard", "multi", "multi", "discard"]),
    "watched": ("main", ["set w 1", "watch w", "multi", "get w", "exec", "unwatch"]),
    "authentication": ("auth", ["get a", "auth bad", "auth secret", "get nope", "auth x secret", "get a"]),
    "user": ("user", ["get a", "auth secret", "auth u bad", "auth x secret", "auth u secret", "get nope"]),
    "error_fault": ("faulty", ["set f 1", "get f"]),
    "mirrored": ("main", ["set m:1 v", "get m:1"]),
    "garbage": ("main", [b"$abc\r\n"]),
    "spoofed_length": ("main", [b"*1\r\n$-5\r\n"]),
}  # fmt: skip

_COMPARED = re.compile(r"^(redis\.|cluster\.[a-z]+\.(upstream_rq_total|upstream_rq_timeout|redis_cluster\.upstream_commands))")


def _stats(side: Side) -> dict[str, int]:
    assert side.process is not None
    values: dict[str, int] = {}
    for line in side.process.admin("/stats").body.splitlines():
        name, separator, value = line.rpartition(": ")
        if separator and value.isdigit() and _COMPARED.match(name) and "_bytes_" not in name:
            values[name] = int(value)
    return values


@pytest.mark.parametrize("name", list(CASES))
def test_redis(sides: list[tuple[Side, Servers]], name: str) -> None:
    listener_name, commands = CASES[name]
    observed: list[tuple[list[bytes], dict[str, int]]] = []
    for side, _ in sides:
        before = _stats(side)
        answers = talk(side.port_of(f"port:{listener_name}"), commands)
        time.sleep(0.3)
        after = _stats(side)
        changed = {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)}
        observed.append((answers, changed))
    assert observed[1][0] == observed[0][0]
    if name not in ("transaction", "discarded", "watched"):
        # Envoy counts all commands of a transaction as "multi".
        assert observed[1][1] == observed[0][1]


def test_mirror_has_written(sides: list[tuple[Side, Servers]]) -> None:
    for side, servers in sides:
        talk(side.port_of("port:main"), ["set m:written yes"])
        time.sleep(0.2)
        assert talk(servers.ports["mirror"], ["get m:written"]) == [b"$3\r\nyes\r\n"], side.kind
