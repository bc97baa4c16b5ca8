"""A control plane for tests: `examples.control_plane` with a memory of what was asked.

    with Recorder() as control_plane:
        control_plane.set(CLUSTER, [{...}])             # version "1", then "2", ...
        ... start a proxy whose ads_config goes to 127.0.0.1:{control_plane.port} over gRPC (HTTP/2 cluster) ...
        control_plane.wait_for(lambda: control_plane.acked(CLUSTER, "1"))
        control_plane.requests(CLUSTER)                 # list of Request, oldest first
        control_plane.nacks(CLUSTER)                    # those with an error: request.error
        control_plane.update(CLUSTER, {...}); control_plane.remove(CLUSTER, "name")
        control_plane.push(response)                    # raw: a message or bytes, to all open streams
        control_plane.abort_all(grpc.StatusCode.UNAVAILABLE, "bye")
        control_plane.stop(); control_plane.start()     # the same port again, the same cache

`silent=True` (or `control_plane.silent = True`): requests are recorded and not answered. `types` to ignore: `mute.add(TYPE)`.
Types and how trees become resources: `examples.control_plane.resources`. `ADS_YAML` is a fragment for bootstraps.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from examples.control_plane.server import ControlPlane, Stream
from examples.control_plane.sessions import DeltaSession, StateSession
from examples.control_plane.snapshot import SnapshotCache

import grpc

ADS_YAML = """
dynamic_resources:
  ads_config:
    api_type: {api_type}
    transport_api_version: V3
    grpc_services: [{{envoy_grpc: {{cluster_name: xds}}}}]
  cds_config: {{ads: {{}}, resource_api_version: V3}}
  lds_config: {{ads: {{}}, resource_api_version: V3}}
"""
"""`.format(api_type="GRPC")` or DELTA_GRPC; beside it goes `xds_cluster(port)` in static_resources.clusters."""


def xds_cluster(port: int, name: str = "xds") -> dict[str, Any]:
    """A static HTTP/2 cluster of one host on loopback."""
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    host = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [host]}]},
    }


class Request:
    """One request as it came; of either form."""

    __slots__ = ("message", "stream")

    def __init__(self, stream: Stream, message: Any) -> None:
        self.stream = stream
        self.message = message

    @property
    def type_name(self) -> str:
        return self.stream.only or str(self.message.type_url).rpartition("/")[2]

    @property
    def error(self) -> str | None:
        """The text of a NACK."""
        return str(self.message.error_detail.message) if self.message.HasField("error_detail") else None

    def summary(self) -> str:
        """All but node and nonce's origin, in one line; for comparing sequences."""
        message = self.message
        short = self.type_name.rpartition(".")[2]
        parts = [short, f"nonce={message.response_nonce}"]
        if self.stream.is_delta:
            parts.append(f"+{list(message.resource_names_subscribe)} -{list(message.resource_names_unsubscribe)}")
            if message.initial_resource_versions:
                parts.append(f"initial={dict(sorted(message.initial_resource_versions.items()))}")
        else:
            parts.append(f"version={message.version_info} names={list(message.resource_names)}")
        parts.append("node" if message.HasField("node") else "no-node")
        if self.error is not None:
            parts.append(f"error={message.error_detail.code}:{self.error}")
        return " ".join(parts)

    def __repr__(self) -> str:
        return f"<Request {self.stream.number} {self.summary()}>"


class _Server(ControlPlane):
    """Answers only what the recorder lets it."""

    recorder: Recorder

    def answers(self, stream: Stream, session: StateSession | DeltaSession, request: Any) -> list[Any]:
        recorder = self.recorder
        responses = session.on_request(request)
        type_name = stream.only or str(request.type_url).rpartition("/")[2]
        return [] if recorder.silent or type_name in recorder.mute else responses


class Recorder:
    """See the module."""

    def __init__(self, port: int = 0, credentials: grpc.ServerCredentials | None = None, silent: bool = False) -> None:
        self.cache = SnapshotCache()
        self.port = port
        self.credentials = credentials
        self.silent = silent
        # Types (full names) whose requests are not answered.
        self.mute: set[str] = set()
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._server: _Server | None = None

    def __enter__(self) -> Recorder:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; again at the same port after `stop`."""
        server = _Server(self.cache, self._note)
        server.recorder = self
        deadline = time.monotonic() + 5
        while True:
            try:
                self.port = server.start(f"127.0.0.1:{self.port}", self.credentials)
                break
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self._server = server

    def stop(self) -> None:
        server = self._server
        self._server = None
        if server is not None:
            server.stop()

    def _note(self, stream: Stream, request: Any) -> None:
        with self._lock:
            self._requests.append(Request(stream, request))

    # Resources

    def set(self, type_name: str, trees: Iterable[Mapping[str, object]], version: str = "") -> str:
        return self.cache.set(type_name, trees, version)

    def set_all(self, trees: Mapping[str, Sequence[Mapping[str, object]]], version: str = "") -> str:
        return self.cache.set_all(trees, version)

    def update(self, type_name: str, tree: Mapping[str, object], version: str = "") -> str:
        return self.cache.update(type_name, tree, version)

    def remove(self, type_name: str, name: str, version: str = "") -> str:
        return self.cache.remove(type_name, name, version)

    # Streams

    def streams(self) -> list[Stream]:
        return self._server.streams() if self._server is not None else []

    def push(self, response: Any) -> None:
        """Send a message, or bytes, on every open stream."""
        for stream in self.streams():
            stream.push(response)

    def abort_all(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, details: str = "") -> None:
        """End every open stream with a status."""
        for stream in self.streams():
            stream.abort(code, details)

    # What was asked

    def requests(self, type_name: str = "") -> list[Request]:
        """All requests so far, or those of one type; oldest first."""
        with self._lock:
            return [each for each in self._requests if not type_name or each.type_name == type_name]

    def clear(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._requests.clear()

    def nacks(self, type_name: str = "") -> list[Request]:
        return [each for each in self.requests(type_name) if each.error is not None]

    def acked(self, type_name: str, version: str) -> bool:
        """Whether a version was accepted (state of the world only: deltas do not name the version they answer)."""
        return any(
            not each.stream.is_delta and each.error is None and each.message.version_info == version
            for each in self.requests(type_name)
        )

    def acks(self, type_name: str) -> int:
        """How many answers were accepted."""
        return sum(bool(each.message.response_nonce) and each.error is None for each in self.requests(type_name))

    @staticmethod
    def wait_for(condition: Callable[[], object], seconds: float = 10.0, what: str = "") -> None:
        """Wait until something is true. Raises AssertionError."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, what or "it did not happen"
            time.sleep(0.01)
