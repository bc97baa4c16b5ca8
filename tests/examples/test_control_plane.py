"""The example control plane: its protocol without I/O, and reading a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from examples.control_plane.__main__ import read_folder
from examples.control_plane.resources import CLUSTER, ENDPOINT, LISTENER, VIRTUAL_HOST, type_url
from examples.control_plane.sessions import DeltaSession, StateSession
from examples.control_plane.snapshot import SnapshotCache, make

from outrider.config import api
from outrider.config.errors import ConfigError
from tests.support.control_plane import Recorder
from tests.support.ports import free_port
from tests.support.proxy_process import ProxyProcess, ask_admin, child_environment

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "control_plane"


def cluster(name: str, timeout: str = "1s") -> dict[str, Any]:
    return {"name": name, "connect_timeout": timeout}


def state_request(type_name: str, *names: str, nonce: str = "", version: str = "") -> Any:
    request: Any = api.new("envoy.service.discovery.v3.DiscoveryRequest")
    request.type_url = type_url(type_name)
    request.resource_names.extend(names)
    request.response_nonce = nonce
    request.version_info = version
    return request


def delta_request(type_name: str, add: tuple[str, ...] = (), remove: tuple[str, ...] = (), nonce: str = "", error: str = "", **known: str) -> Any:
    request: Any = api.new("envoy.service.discovery.v3.DeltaDiscoveryRequest")
    request.type_url = type_url(type_name)
    request.resource_names_subscribe.extend(add)
    request.resource_names_unsubscribe.extend(remove)
    request.response_nonce = nonce
    for name, version in known.items():
        request.initial_resource_versions[name] = version
    if error:
        request.error_detail.message = error
    return request


def delta_names(responses: list[Any]) -> tuple[list[str], list[str]]:
    (response,) = responses
    return [each.name for each in response.resources], list(response.removed_resources)


def test_state_of_the_world() -> None:
    cache = SnapshotCache()
    session = StateSession(cache)
    assert session.on_request(state_request(CLUSTER)) == []
    cache.set(CLUSTER, [cluster("a"), cluster("b")])
    (response,) = session.on_change(CLUSTER)
    assert (response.version_info, response.nonce, len(response.resources)) == ("1", "1", 2)
    assert session.on_request(state_request(CLUSTER, nonce="1", version="1")) == []
    assert session.on_change(CLUSTER) == []
    # A refused version is not sent again; the next one is.
    cache.set(CLUSTER, [])
    (response,) = session.on_change(CLUSTER)
    assert (response.version_info, len(response.resources)) == ("2", 0)
    assert session.on_request(state_request(CLUSTER, nonce="stale")) == []


def test_named_types_get_what_they_name() -> None:
    cache = SnapshotCache()
    cache.set(ENDPOINT, [{"cluster_name": "a"}, {"cluster_name": "b"}])
    session = StateSession(cache)
    (response,) = session.on_request(state_request(ENDPOINT, "a", "missing"))
    assert len(response.resources) == 1
    (response,) = session.on_request(state_request(ENDPOINT, "a", "b", nonce=response.nonce, version="1"))
    assert len(response.resources) == 2
    assert session.on_request(state_request(LISTENER)) == []


def test_incremental() -> None:
    cache = SnapshotCache()
    cache.set(CLUSTER, [cluster("a"), cluster("b")])
    session = DeltaSession(cache)
    assert delta_names(session.on_request(delta_request(CLUSTER))) == (["a", "b"], [])
    assert session.on_request(delta_request(CLUSTER, nonce="1")) == []
    cache.update(CLUSTER, cluster("a", "2s"))
    assert delta_names(session.on_change(CLUSTER)) == (["a"], [])
    session.on_request(delta_request(CLUSTER, nonce="2"))
    cache.remove(CLUSTER, "b")
    assert delta_names(session.on_change(CLUSTER)) == ([], ["b"])
    # Refused: told again with the next change.
    session.on_request(delta_request(CLUSTER, nonce="3", error="no"))
    cache.update(CLUSTER, cluster("c"))
    assert delta_names(session.on_change(CLUSTER)) == (["c"], ["b"])


def test_a_reconnect_tells_only_what_differs() -> None:
    cache = SnapshotCache()
    cache.set(CLUSTER, [cluster("a"), cluster("b")])
    version = cache.get(CLUSTER).resources["a"].version
    session = DeltaSession(cache)
    assert delta_names(session.on_request(delta_request(CLUSTER, a=version, gone="1"))) == (["b"], ["gone"])


def test_names_come_and_go() -> None:
    cache = SnapshotCache()
    cache.set(ENDPOINT, [{"cluster_name": "a"}, {"cluster_name": "b"}])
    session = DeltaSession(cache)
    assert delta_names(session.on_request(delta_request(ENDPOINT, ("a", "missing")))) == (["a"], ["missing"])
    assert session.on_request(delta_request(ENDPOINT, (), ("a",))) == []
    assert delta_names(session.on_request(delta_request(ENDPOINT, ("a",)))) == (["a"], [])


def test_aliases() -> None:
    cache = SnapshotCache()
    host = {"name": "h", "domains": ["h.example"]}
    cache.put(VIRTUAL_HOST, make(VIRTUAL_HOST, host, ("r/h.example",), "r/h"))
    session = DeltaSession(cache)
    (response,) = session.on_request(delta_request(VIRTUAL_HOST, ("r/h.example", "r/other")))
    assert [(each.name, each.HasField("resource")) for each in response.resources] == [("r/h", True), ("r/other", False)]


def test_what_changes_at_once_is_told_in_the_order_that_breaks_nothing() -> None:
    cache = SnapshotCache()
    told: list[list[str]] = []
    cache.listen(told.append)
    cache.set_all({LISTENER: [], ENDPOINT: [], CLUSTER: []})
    assert told == [[CLUSTER, ENDPOINT, LISTENER]]
    cache.unlisten(told.append)


def test_wrong_resources_are_refused_where_they_are_made() -> None:
    with pytest.raises(ConfigError):
        SnapshotCache().set(CLUSTER, [{"nonsense": 1}])


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"resources:\n- '@type': type.googleapis.com/{CLUSTER}\n  name: a\n")
    (tmp_path / "b.yaml").write_text(f"resources:\n- '@type': type.googleapis.com/{CLUSTER}\n  name: b\n")
    assert read_folder(tmp_path) == {CLUSTER: [{"name": "a"}, {"name": "b"}]}
    (tmp_path / "c.yaml").write_text("nothing: here\n")
    with pytest.raises(ValueError, match=r"c\.yaml"):
        read_folder(tmp_path)


@pytest.mark.integration
def test_the_example_as_its_comment_says(tmp_path: Path) -> None:
    """The files as they are, with other ports; the text is changed while the proxy runs."""
    serving, admin, plane = free_port(), free_port(), free_port()
    ports = {"10000": serving, "9901": admin, "18000": plane}

    def with_ports(path: Path) -> str:
        text = path.read_text()
        for old, new in ports.items():
            text = text.replace(f"port_value: {old}", f"port_value: {new}")
        return text

    folder = tmp_path / "hello"
    folder.mkdir()
    resources = folder / "hello.yaml"
    resources.write_text(with_ports(EXAMPLE / "hello" / "hello.yaml"))
    command = [sys.executable, "-m", "examples.control_plane", "--listen", f"127.0.0.1:{plane}", str(folder)]
    server = subprocess.Popen(command, cwd=EXAMPLE.parents[1], env=child_environment(), stderr=subprocess.DEVNULL)
    proxy = ProxyProcess("outrider", with_ports(EXAMPLE / "bootstrap.yaml"), admin, tmp_path)
    try:
        proxy.wait_ready()
        Recorder.wait_for(lambda: ask_admin(serving, "/").body == "hello\n")
        resources.write_text(resources.read_text().replace("hello\\n", "changed\\n"))
        Recorder.wait_for(lambda: ask_admin(serving, "/").body == "changed\n")
    finally:
        proxy.stop()
        server.terminate()
        server.wait(10)
