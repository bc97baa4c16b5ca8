"""REST-JSON polling against a small HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from outrider.config.subscription import CONNECTION_FAILURE, FETCH_TIMEOUT, UPDATE_REJECTED
from tests.xds.fakes import CLUSTER, ENDPOINT
from tests.xds.scene import World

pytestmark = pytest.mark.integration


class RestPlane:
    """`answers`: status and body for each request to come; the last one stays."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.answers: list[tuple[int, str]] = []
        plane = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                plane.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                status, text = plane.answers.pop(0) if len(plane.answers) > 1 else plane.answers[0]
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def plane() -> Iterator[RestPlane]:
    made = RestPlane()
    yield made
    made.close()


def state(version: str, *names: str, timeout: str = "1s") -> str:
    resources = [
        {"@type": f"type.googleapis.com/{CLUSTER}", "name": name, "connect_timeout": timeout} for name in names
    ]
    return json.dumps({"version_info": version, "resources": resources})


SOURCE: dict[str, Any] = {
    "api_config_source": {
        "api_type": "REST",
        "cluster_names": ["xds"],
        "refresh_delay": "0.05s",
        "request_timeout": "2s",
    }
}


def test_asks_again_and_tells_the_version_it_has(plane: RestPlane) -> None:
    plane.answers = [(200, state("1", "a")), (304, ""), (200, state("2", "a", "b"))]
    world = World(plane.port, http2=False)
    try:
        _, memory = world.subscribe(SOURCE, CLUSTER)
        world.until(lambda: len(memory.states) >= 2)
        assert memory.states[:2] == [(["a"], "1"), (["a", "b"], "2")]
        path, headers, body = plane.requests[0]
        assert path == "/v3/discovery:clusters"
        assert headers["content-type"] == "application/json"
        assert headers["host"] == "xds"
        assert body.pop("node")["id"] == "me"
        assert body == {"type_url": f"type.googleapis.com/{CLUSTER}"}
        assert plane.requests[1][2]["version_info"] == "1"
        assert memory.failures == []
    finally:
        world.close()


def test_failures_and_refusals_leave_what_is_there(plane: RestPlane) -> None:
    plane.answers = [
        (200, state("1", "a")),
        (503, ""),
        (200, "{"),
        (200, state("2", "b", timeout="0s")),
        (200, state("3", "c")),
    ]
    world = World(plane.port, http2=False)
    try:
        _, memory = world.subscribe(SOURCE, CLUSTER)
        world.until(lambda: len(memory.states) >= 2)
        assert memory.states[:2] == [(["a"], "1"), (["c"], "3")]
        assert [reason for reason, _ in memory.failures] == [CONNECTION_FAILURE, UPDATE_REJECTED, UPDATE_REJECTED]
        assert world.value("s.update_failure") == 1
        assert world.value("s.update_rejected") == 2
        # The version that is in force, not the refused one.
        assert plane.requests[4][2]["version_info"] == "1"
    finally:
        world.close()


def test_names(plane: RestPlane) -> None:
    plane.answers = [(304, "")]
    world = World(plane.port, http2=False)
    try:
        subscription, _ = world.subscribe(SOURCE, ENDPOINT, ["b", "a"])
        world.until(lambda: plane.requests)
        assert plane.requests[0][0] == "/v3/discovery:endpoints"
        assert plane.requests[0][2]["resource_names"] == ["a", "b"]
        world.run(subscription.update_interest, ["c"])
        world.until(lambda: plane.requests[-1][2]["resource_names"] == ["c"])
    finally:
        world.close()


def test_a_server_that_is_not_there() -> None:
    world = World(1, http2=False)
    try:
        source = {**SOURCE, "initial_fetch_timeout": "0.2s"}
        _, memory = world.subscribe(source, CLUSTER)
        world.until(lambda: (FETCH_TIMEOUT, "") in memory.failures)
        assert memory.failures[0] == (CONNECTION_FAILURE, "")
    finally:
        world.close()
