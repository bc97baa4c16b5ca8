"""A proxy that learns everything from a control plane, upstreams that say who they are, and steady traffic."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.support.control_plane import ADS_YAML, Recorder, xds_cluster
from tests.support.ports import free_port
from tests.support.proxy_process import ProxyProcess

CLUSTER = "envoy.config.cluster.v3.Cluster"
ENDPOINTS = "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "envoy.config.listener.v3.Listener"
ROUTES = "envoy.config.route.v3.RouteConfiguration"
_URL = "type.googleapis.com/"
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"


def at(port: int, host: str = "127.0.0.1") -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def route_config(name: str, cluster: str, /, **fields: Any) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster}, **fields}
    return {"name": name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}


def manager(routes: dict[str, Any] | str, **fields: Any) -> dict[str, Any]:
    """A filter chain's one filter; `routes` inline, or the name of what RDS gives."""
    where: dict[str, Any] = (
        {"rds": {"route_config_name": routes, "config_source": {"ads": {}, "resource_api_version": "V3"}}}
        if isinstance(routes, str)
        else {"route_config": routes}
    )
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": _URL + _ROUTER}}
    config = {"@type": _URL + _HCM, "stat_prefix": "web", "http_filters": [router], **where, **fields}
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


def listener(name: str, port: int, routes: dict[str, Any] | str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "address": at(port), "filter_chains": [{"filters": [manager(routes)]}], **fields}


def eds_cluster(name: str, **fields: Any) -> dict[str, Any]:
    source = {"ads": {}, "resource_api_version": "V3"}
    return {
        "name": name, "type": "EDS", "connect_timeout": "1s", "eds_cluster_config": {"eds_config": source}, **fields
    }  # fmt: skip


def assignment(name: str, *ports: int, **fields: Any) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": at(port)}} for port in ports]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}], **fields}


def static_cluster(name: str, *ports: int, **fields: Any) -> dict[str, Any]:
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment(name, *ports), **fields}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            time.sleep(1.0)
        body = str(self.server.server_port).encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


class NamedUpstream:
    """Answers every request with its own port."""

    def __init__(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Traffic:
    """Requests without a pause on several connections, each opened anew after some; every failure is kept."""

    def __init__(self, port: int, connections: int = 3, per_connection: int = 20) -> None:
        self.port = port
        self.count = 0
        self.failures: list[str] = []
        self.seen: dict[str, int] = {}
        self.slowest = 0.0
        self._per_connection = per_connection
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self) -> None:
        while not self._stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                for _ in range(self._per_connection):
                    if self._stop.is_set():
                        break
                    began = time.monotonic()
                    connection.request("GET", "/")
                    response = connection.getresponse()
                    body = response.read().decode()
                    took = time.monotonic() - began
                    with self._lock:
                        self.count += 1
                        self.slowest = max(self.slowest, took)
                        self.seen[body] = self.seen.get(body, 0) + 1
                        if response.status != 200:
                            self.failures.append(f"{response.status} {body}")
                    if response.will_close:
                        break
            except OSError as error:
                with self._lock:
                    self.failures.append(f"{type(error).__name__} {error}")
            except http.client.HTTPException as error:
                with self._lock:
                    self.failures.append(f"{type(error).__name__} {error}")
            finally:
                connection.close()


class DiscoveryScene:
    """Starts it all; `close` ends it. `api_type` is GRPC or DELTA_GRPC."""

    def __init__(
        self, folder: Path, api_type: str = "GRPC", kind: str = "outrider", concurrency: int = 2, upstreams: int = 3,
        arguments: tuple[str, ...] = (), **bootstrap: Any,
    ) -> None:
        self.plane = Recorder()
        self.plane.start()
        self.upstreams = [NamedUpstream() for _ in range(upstreams)]
        self.ports = [upstream.port for upstream in self.upstreams]
        self.admin_port = free_port()
        tree: dict[str, Any] = yaml.safe_load(ADS_YAML.format(api_type=api_type))
        tree["node"] = {"id": "test", "cluster": "tests"}
        tree["admin"] = {"address": at(self.admin_port)}
        tree["static_resources"] = {"clusters": [xds_cluster(self.plane.port)]}
        for key, value in bootstrap.items():
            if key == "static_resources":
                tree["static_resources"]["clusters"] += value.get("clusters", [])
                tree["static_resources"]["listeners"] = value.get("listeners", [])
            else:
                tree[key] = value
        self.config = json.dumps(tree)
        self.folder = folder
        self.kind = kind
        self.concurrency = concurrency
        self.arguments = arguments
        self.proxy: ProxyProcess | None = None

    def start(self, wait: bool = True) -> None:
        self.proxy = ProxyProcess(
            self.kind, self.config, self.admin_port, self.folder, arguments=list(self.arguments),
            concurrency=self.concurrency,
        )
        if wait:
            self.proxy.wait_ready()

    def close(self) -> None:
        if self.proxy is not None:
            self.proxy.stop()
        self.plane.stop()
        for upstream in self.upstreams:
            upstream.close()

    def admin(self, path: str, method: str = "GET") -> str:
        assert self.proxy is not None
        return self.proxy.admin(path, method).body

    def stat(self, name: str) -> int:
        """The value of a counter or gauge, -1 when there is none."""
        for line in self.admin(f"/stats?filter=^{name}$").splitlines():
            key, _, value = line.partition(": ")
            if key == name:
                return int(value)
        return -1

    def get(self, port: int, path: str = "/", host: str = "") -> str:
        """Status and body of one request on a new connection."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path, headers={"host": host} if host else {})
            response = connection.getresponse()
            return f"{response.status} {response.read().decode()}"
        except OSError as error:
            return type(error).__name__
        finally:
            connection.close()

    def printed(self) -> str:
        return (self.folder / f"{self.kind}.err").read_text() + (self.folder / f"{self.kind}.out").read_text()


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()
