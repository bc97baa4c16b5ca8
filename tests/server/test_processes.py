"""The running processes: signals, supervision, refusals, listeners. Each test starts its own proxy."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.ports import free_port
from tests.support.proxy_process import ProxyProcess, ask_admin, outrider_command

ECHO = {
    "name": "envoy.filters.network.echo",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"},
}


def at(port: int, host: str = "127.0.0.1") -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def listener(port: int, **fields: Any) -> dict[str, Any]:
    return {"name": f"echo_{port}", "address": at(port), "filter_chains": [{"filters": [ECHO]}], **fields}


def bootstrap(admin_port: int, *listeners: dict[str, Any], **fields: Any) -> str:
    tree = {"admin": {"address": at(admin_port)}, "static_resources": {"listeners": list(listeners)}, **fields}
    return json.dumps(tree)


Starter = Callable[..., ProxyProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts proxies, and ends them after the test."""
    running: list[ProxyProcess] = []

    def begin(config: str, admin_port: int, arguments: Sequence[str] = (), concurrency: int = 1) -> ProxyProcess:
        proxy = ProxyProcess(
            "outrider", config, admin_port, tmp_path, arguments=list(arguments), concurrency=concurrency
        )
        running.append(proxy)
        proxy.wait_ready()
        return proxy

    yield begin
    for proxy in running:
        proxy.stop()


def echoes(port: int | str, host: str = "127.0.0.1", timeout: float = 5.0) -> bool:
    """Whether a new connection sends back what it gets."""
    if isinstance(port, str):
        opened = socket.socket(socket.AF_UNIX)
        opened.settimeout(timeout)
        opened.connect("\0" + port[1:] if port.startswith("@") else port)
    else:
        opened = socket.create_connection((host, port), timeout)
    with opened:
        try:
            opened.sendall(b"hello")
            return opened.recv(100) == b"hello"
        except ConnectionResetError:
            return False


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]


def workers_of(proxy: ProxyProcess) -> list[int]:
    """The process ids of the workers: grandchildren, as the template forks them."""
    return [worker for template in children_of(proxy.process.pid) for worker in children_of(template)]


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def run(arguments: list[str], timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*outrider_command(), *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything_with_status_zero(start: Starter, number: signal.Signals) -> None:
    port, admin = free_port(), free_port()
    proxy = start(bootstrap(admin, listener(port)), admin, concurrency=2)
    assert echoes(port)
    workers = workers_of(proxy)
    assert len(workers) == 2
    # An open connection does not delay the end.
    with socket.create_connection(("127.0.0.1", port)):
        begun = time.monotonic()
        proxy.process.send_signal(number)
        assert proxy.process.wait(5) == 0
    assert time.monotonic() - begun < 2.0
    assert wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))
    name = "ENVOY_SIGTERM" if number == signal.SIGTERM else "SIGINT"
    assert "[warning][main] [outrider/server/main_process.py" in proxy.printed()
    assert f"caught {name}" in proxy.printed()
    assert "Traceback" not in proxy.printed()


def test_sighup_is_swallowed(start: Starter) -> None:
    port, admin = free_port(), free_port()
    proxy = start(bootstrap(admin, listener(port)), admin)
    proxy.process.send_signal(signal.SIGHUP)
    assert wait_for(lambda: "caught and eating SIGHUP" in proxy.printed())
    assert echoes(port)


def test_quitquitquit(start: Starter) -> None:
    port, admin = free_port(), free_port()
    proxy = start(bootstrap(admin, listener(port)), admin)
    answer = proxy.admin("/quitquitquit", "POST")
    assert (answer.status, answer.body) == (200, "OK\n")
    assert proxy.process.wait(5) == 0


def test_a_killed_worker_is_replaced_within_a_second_and_no_connection_is_lost(start: Starter) -> None:
    port, admin = free_port(), free_port()
    proxy = start(bootstrap(admin, listener(port)), admin, concurrency=2)
    before = workers_of(proxy)
    victim = before[0]
    # A connection of the other worker lives on; which worker has it, its sockets tell.
    kept = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
    for each in kept:
        each.sendall(b"x")
        assert each.recv(1) == b"x"
    os.kill(victim, signal.SIGKILL)
    # While it is away, connections wait in its queue: none is refused, all are answered.
    for _ in range(20):
        assert echoes(port)
    assert wait_for(lambda: len(workers_of(proxy)) == 2 and victim not in workers_of(proxy), 1.0)
    assert f"(pid {victim}) died" in proxy.printed()
    survivors = 0
    for each in kept:
        try:
            each.sendall(b"y")
            survivors += each.recv(1) == b"y"
        except ConnectionError:
            pass
        each.close()
    assert 0 < survivors <= 8
    assert echoes(port)


def test_workers_end_when_main_is_killed(start: Starter) -> None:
    port, admin = free_port(), free_port()
    proxy = start(bootstrap(admin, listener(port)), admin, concurrency=2)
    family = [*children_of(proxy.process.pid), *workers_of(proxy)]
    assert len(family) == 3
    proxy.process.kill()
    proxy.process.wait(5)
    assert wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in family))


def test_the_inline_form_is_one_process(start: Starter) -> None:
    port, admin = free_port(), free_port()
    proxy = start(bootstrap(admin, listener(port)), admin, concurrency=0)
    assert echoes(port)
    assert children_of(proxy.process.pid) == []
    stats = proxy.admin("/stats?filter=downstream_cx_total").body
    assert f"listener.127.0.0.1_{port}.downstream_cx_total: 1\n" in stats
    assert f"listener.127.0.0.1_{port}.worker_0.downstream_cx_total: 1\n" in stats
    proxy.process.terminate()
    assert proxy.process.wait(5) == 0


def test_sigusr1_reopens_the_log(start: Starter, tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    log = tmp_path / "application.log"
    proxy = start(bootstrap(admin, listener(port)), admin, ["--log-path", str(log)])
    log.rename(tmp_path / "rotated.log")
    proxy.process.send_signal(signal.SIGUSR1)
    assert wait_for(log.exists)
    proxy.process.send_signal(signal.SIGHUP)
    assert wait_for(lambda: "SIGHUP" in log.read_text())
    assert "SIGHUP" not in (tmp_path / "rotated.log").read_text()


def test_addresses_of_all_kinds(start: Starter, tmp_path: Path) -> None:
    first, second, six, admin = free_port(), free_port(), free_port(), free_port()
    path = str(tmp_path / "s.sock")
    abstract = f"@outrider-test-{os.getpid()}-{first}"
    chains = [{"filters": [ECHO]}]
    pipes = [
        {"name": "pipe", "address": {"pipe": {"path": path, "mode": 0o600}}, "filter_chains": chains},
        {"name": "abstract", "address": {"pipe": {"path": abstract}}, "filter_chains": chains},
    ]
    mapped = {
        "name": "six",
        "address": {"socket_address": {"address": "::", "port_value": six, "ipv4_compat": True}},
        "filter_chains": [{"filters": [ECHO]}],
    }
    both = listener(first, additional_addresses=[{"address": at(second)}])
    any_port = {"name": "any", "address": at(0), "filter_chains": [{"filters": [ECHO]}]}
    proxy = start(bootstrap(admin, both, *pipes, mapped, any_port), admin, concurrency=2)
    for _ in range(4):
        assert echoes(first)
        assert echoes(second)
        assert echoes(six)
        assert echoes(six, "::1")
        assert echoes(path)
        assert echoes(abstract)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    lines = proxy.admin("/listeners").body.splitlines()
    assert f"echo_{first}::127.0.0.1:{first}" in lines
    assert f"echo_{first}::127.0.0.1:{second}" in lines
    assert f"pipe::{path}" in lines
    chosen = next(line for line in lines if line.startswith("any::")).rpartition(":")[2]
    assert echoes(int(chosen))
    proxy.stop()
    assert not os.path.exists(path)


def test_a_stale_unix_socket_is_replaced(start: Starter, tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    left_over = socket.socket(socket.AF_UNIX)
    left_over.bind(path)
    left_over.close()
    admin = free_port()
    pipe = {"name": "pipe", "address": {"pipe": {"path": path}}, "filter_chains": [{"filters": [ECHO]}]}
    start(bootstrap(admin, pipe), admin)
    assert echoes(path)


def test_draining_stops_listeners(start: Starter) -> None:
    inbound, outbound, admin = free_port(), free_port(), free_port()
    config = bootstrap(admin, listener(inbound, traffic_direction="INBOUND"), listener(outbound))
    proxy = start(config, admin, concurrency=2)
    assert proxy.admin("/drain_listeners?inboundonly", "POST").body == "OK\n"
    assert wait_for(lambda: refuses(inbound))
    assert echoes(outbound)
    assert proxy.admin("/drain_listeners?graceful&skip_exit", "POST").status == 200
    # As in Envoy, only a failed health check makes the server as such draining.
    assert proxy.admin("/ready").body == "LIVE\n"
    assert echoes(outbound)
    assert proxy.admin("/drain_listeners", "POST").status == 200
    assert wait_for(lambda: refuses(outbound))
    assert "listener_manager.listener_stopped: 2\n" in proxy.admin("/stats").body


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 2.0).close()
    except ConnectionRefusedError:
        return True
    return False


def test_runtime_reaches_the_workers_and_limits_connections(start: Starter) -> None:
    port, admin = free_port(), free_port()
    layers = {"layers": [{"name": "admin", "admin_layer": {}}]}
    proxy = start(bootstrap(admin, listener(port), layered_runtime=layers), admin, concurrency=2)
    key = f"envoy.resource_limits.listener.echo_{port}.connection_limit"
    assert proxy.admin(f"/runtime_modify?{key}=2", "POST").body == "OK\n"
    with socket.create_connection(("127.0.0.1", port)) as one, socket.create_connection(("127.0.0.1", port)) as two:
        for each in (one, two):
            each.sendall(b"x")
            assert each.recv(1) == b"x"
        # Whichever worker gets the third one, the limit is for all workers together.
        assert not echoes(port)
        assert f"listener.127.0.0.1_{port}.downstream_cx_overflow: 1\n" in proxy.admin("/stats").body
    assert wait_for(lambda: echoes(port))
    assert proxy.admin(f"/runtime_modify?{key}=", "POST").body == "OK\n"
    assert "final_value" not in proxy.admin("/runtime").body


def test_the_global_limit_of_the_overload_manager(start: Starter) -> None:
    port, free, admin = free_port(), free_port(), free_port()
    monitor = {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3."
            "DownstreamConnectionsConfig",
            "max_active_downstream_connections": 1,
        },
    }
    config = bootstrap(
        admin, listener(port), listener(free, ignore_global_conn_limit=True),
        overload_manager={"resource_monitors": [monitor]},
    )  # fmt: skip
    proxy = start(config, admin, concurrency=2)
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(b"x")
        assert one.recv(1) == b"x"
        assert not echoes(port)
        assert echoes(free)
        assert f"listener.127.0.0.1_{port}.downstream_global_cx_overflow: 1\n" in proxy.admin("/stats").body


def test_accepts_per_event(start: Starter) -> None:
    port, admin = free_port(), free_port()
    proxy = start(bootstrap(admin, listener(port, max_connections_to_accept_per_socket_event=1)), admin)
    for _ in range(3):
        assert echoes(port)
    assert f"listener.127.0.0.1_{port}.downstream_cx_total: 3\n" in proxy.admin("/stats").body


def test_files_with_address_and_base_id(start: Starter, tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    address, base = tmp_path / "address", tmp_path / "base"
    arguments = ["--admin-address-path", str(address), "--base-id-path", str(base)]
    start(bootstrap(admin, listener(port)), admin, arguments)
    assert address.read_text() == f"127.0.0.1:{admin}"
    assert base.read_text().isdigit()


def test_log_levels_change_in_all_processes(start: Starter) -> None:
    port, admin = free_port(), free_port()
    proxy = start(bootstrap(admin, listener(port)), admin, ["-l", "error"])
    proxy.process.send_signal(signal.SIGHUP)
    assert "  main: error\n" in proxy.admin("/logging", "POST").body
    assert "  main: warning\n" in proxy.admin("/logging?main=warning", "POST").body
    assert "SIGHUP" not in proxy.printed()
    proxy.process.send_signal(signal.SIGHUP)
    assert wait_for(lambda: "SIGHUP" in proxy.printed())


def test_init_only_ends_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(bootstrap(free_port(), listener(free_port())))
    done = run(["--mode", "init_only", "-c", str(file), "--concurrency", "1"])
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_validate_prints_one_line_and_binds_nothing(tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "c.yaml"
    file.write_text(bootstrap(free_port(), listener(port)))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = run(["--mode", "validate", "-c", str(file)])
    assert (done.returncode, done.stdout) == (0, f"configuration '{file}' OK\n")


def refused(tmp_path: Path, text: str, name: str = "c.yaml", arguments: Sequence[str] = ()) -> str:
    """Run with a bad configuration; gives what was said on standard error, without log lines below error."""
    file = tmp_path / name
    file.write_text(text)
    done = run(["-c", str(file), "-l", "error", "--concurrency", "1", *arguments])
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def test_bad_configurations_are_refused_in_one_message(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    good = listener(port)
    assert "zzz" in refused(tmp_path, bootstrap(admin, good, zzz=1))
    assert "bad.yaml:" in refused(tmp_path, "a: [", "bad.yaml")
    message = refused(tmp_path, bootstrap(admin, good, listener(port, name="other")))
    assert f"duplicate address '127.0.0.1:{port}'" in message
    twin = listener(free_port(), name=good["name"])
    assert "duplicate listener name" in refused(tmp_path, bootstrap(admin, good, twin))
    message = refused(tmp_path, bootstrap(admin, listener(port, use_original_dst=True)))
    assert "static_resources.listeners[0].use_original_dst" in message
    assert "no filter chains specified" in refused(tmp_path, bootstrap(admin, listener(port, filter_chains=[])))
    message = refused(tmp_path, bootstrap(admin, listener(port, filter_chains=[{"filters": [{"name": "foo"}]}])))
    assert "Didn't find a registered implementation for 'foo'" in message
    done = run(["-c", str(tmp_path / "absent.yaml")])
    assert done.returncode == 1
    assert "absent.yaml" in done.stderr.splitlines()[-1]


def test_unsupported_fields_may_be_downgraded_to_warnings(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(bootstrap(free_port(), listener(free_port(), use_original_dst=True)))
    assert run(["--mode", "validate", "-c", str(file)]).returncode == 1
    done = run(["--mode", "validate", "--unsupported=warn", "-c", str(file)])
    assert done.returncode == 0
    assert "static_resources.listeners[0].use_original_dst" in done.stderr


def test_a_port_in_use_is_refused_and_nothing_stays_bound(tmp_path: Path) -> None:
    port, other, admin = free_port(), free_port(), free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        message = refused(tmp_path, bootstrap(admin, listener(other), listener(port)))
    assert message == f"cannot bind '127.0.0.1:{port}': Address already in use\n"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", admin))
        taken.listen()
        message = refused(tmp_path, bootstrap(admin, listener(other)))
    assert message == f"cannot bind '127.0.0.1:{admin}': Address already in use\n"


def test_no_configuration_at_all_runs_the_demonstration_or_says_what_is_missing(tmp_path: Path) -> None:
    done = run(["--demo", "--mode", "validate"])
    assert done.returncode == 0
    assert done.stdout.endswith("OK\n")


def test_stats_are_sent_to_a_statsd_server(start: Starter) -> None:
    port, admin = free_port(), free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        sink = {
            "name": "envoy.stat_sinks.statsd",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.metrics.v3.StatsdSink",
                "address": at(server.getsockname()[1]),
                "prefix": "mine",
            },
        }
        start(bootstrap(admin, listener(port), stats_sinks=[sink], stats_flush_interval="0.1s"), admin)
        assert echoes(port)
        wanted = f"mine.listener.127.0.0.1_{port}.downstream_cx_total:1|c".encode()
        deadline = time.monotonic() + 5
        received: set[bytes] = set()
        while wanted not in received and time.monotonic() < deadline:
            received.add(server.recv(65536))
        assert wanted in received


def test_admin_options(start: Starter, tmp_path: Path) -> None:
    """Access log, allowed paths, and the interface on a Unix socket."""
    port, admin = free_port(), free_port()
    log = tmp_path / "admin.log"
    entry = {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(log),
            "log_format": {"text_format_source": {"inline_string": "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE%\n"}},
        },
    }
    tree = json.loads(bootstrap(admin, listener(port)))
    tree["admin"]["access_log"] = [entry]
    tree["admin"]["allow_paths"] = [{"exact": "/ready"}, {"prefix": "/stats"}]
    proxy = start(json.dumps(tree), admin)
    assert proxy.admin("/stats?filter=server.live").body == "server.live: 1\n"
    refused_answer = proxy.admin("/quitquitquit", "POST")
    assert refused_answer.status == 403
    assert wait_for(lambda: "POST /quitquitquit 403\n" in log.read_text())
    assert "GET /ready 200\n" in log.read_text()


def test_admin_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    tree = json.loads(bootstrap(0, listener(free_port())))
    tree["admin"] = {"address": {"pipe": {"path": str(path), "mode": 0o660}}}
    file = tmp_path / "c.yaml"
    file.write_text(json.dumps(tree))
    process = subprocess.Popen(
        [*outrider_command(), "-c", str(file), "--concurrency", "1"], stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        assert wait_for(lambda: path.exists() and "LIVE" in over_unix_socket(path, "/ready"), 15.0)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    finally:
        process.terminate()
        assert process.wait(5) == 0
        assert process.stderr is not None
        process.stderr.close()
    assert not path.exists()


def over_unix_socket(path: Path, target: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(str(path))
            client.sendall(f"GET {target} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n".encode())
            received = b""
            while part := client.recv(65536):
                received += part
        except (ConnectionError, FileNotFoundError):
            return ""
        return received.decode()


def test_a_worker_that_does_not_turn_is_counted_and_killed(start: Starter) -> None:
    port, admin = free_port(), free_port()
    watchdogs = {"worker_watchdog": {"miss_timeout": "0.2s", "megamiss_timeout": "0.3s", "kill_timeout": "1s"}}
    proxy = start(bootstrap(admin, listener(port), watchdogs=watchdogs), admin, concurrency=2)
    stuck = workers_of(proxy)[0]
    os.kill(stuck, signal.SIGSTOP)
    assert wait_for(lambda: stuck not in workers_of(proxy) and len(workers_of(proxy)) == 2)
    stats = proxy.admin("/stats?filter=workers.watchdog").body
    assert stats == "workers.watchdog_mega_miss: 1\nworkers.watchdog_miss: 1\n"
    assert echoes(port)


def test_bootstrap_odds_and_ends(start: Starter, tmp_path: Path) -> None:
    """A flag file that says drain, a version for the stats, a pattern for the log."""
    port, admin = free_port(), free_port()
    (tmp_path / "drain").touch()
    config = bootstrap(
        admin, listener(port), flags_path=str(tmp_path), stats_server_version_override=12345,
        application_log_config={"log_format": {"text_format": "<%l> %v"}},
    )  # fmt: skip
    file = tmp_path / "outrider.yaml"
    file.write_text(config)
    proxy = subprocess.Popen(
        [*outrider_command(), "-c", str(file), "--concurrency", "1"], stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        assert wait_for(lambda: answers(admin, "/ready") == (503, "DRAINING\n"), 15.0)
        assert answers(admin, "/stats?filter=server.version") == (200, "server.version: 12345\n")
        assert answers(admin, "/stats?filter=server.live") == (200, "server.live: 0\n")
        assert echoes(port)
    finally:
        proxy.terminate()
        _, errors = proxy.communicate(timeout=5)
    assert b"\n<info> starting main dispatch loop\n" in errors


def answers(port: int, path: str) -> tuple[int, str] | None:
    try:
        answer = ask_admin(port, path)
    except OSError:
        return None
    return answer.status, answer.body


def test_disabled_extensions_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(bootstrap(free_port(), listener(free_port())))
    name = "envoy.filters.network/envoy.filters.network.echo"
    done = run(["--mode", "validate", "-c", str(file), "--disable-extensions", name])
    assert done.returncode == 1
    assert "Didn't find a registered implementation for 'envoy.filters.network.echo'" in done.stderr
    assert run(["--mode", "validate", "-c", str(file), "--disable-extensions", "zz/zz"]).returncode == 0
