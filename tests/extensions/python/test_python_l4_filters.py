"""Network filters with coroutines, UDP filters, and filters that installed packages register."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from outrider import testing
from outrider.config.errors import ConfigError
from outrider.network.filter import STOP, NetworkFilter
from outrider.network.udp_filter import Peer, UdpListenerFilter
from outrider.network.udp_listener import UdpAddress

HERE = __name__
ECHO = "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"


class Slowly(NetworkFilter):
    """Waits before it lets bytes pass; keeps those that say so."""

    def __init__(self, config: dict[str, object]) -> None:
        self.config = config

    async def on_new_connection(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0.01)

    async def on_data(self, data: bytes, end_stream: bool) -> Any:
        await asyncio.sleep(0.01)
        if data == b"raise":
            raise RuntimeError("asked for")
        if data == b"keep":
            return STOP
        return data.upper()


class AsyncWrite(NetworkFilter):
    def __init__(self, config: dict[str, object]) -> None:
        pass

    async def on_write(self, data: bytes, end_stream: bool) -> None:  # type: ignore[override]
        pass


class Shout(UdpListenerFilter):
    """Answers in capitals."""

    def __init__(self, config: dict[str, object]) -> None:
        self.mark = str(config.get("mark", "")).encode()

    def initialize(self, listener: UdpAddress) -> None:
        self.listener = listener

    def on_data(self, data: bytes, peer: Peer) -> bool:
        if data == b"raise":
            raise RuntimeError("asked for")
        self.listener.send(data.upper() + self.mark, peer)
        return False


def python(value: dict[str, Any]) -> dict[str, Any]:
    struct = {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct", "type_url": "outrider.python", "value": value,
    }  # fmt: skip
    return {"name": "mine", "typed_config": struct}


def tcp(value: dict[str, Any]) -> dict[str, Any]:
    listener = {
        "name": "main",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [python(value), {"name": "echo", "typed_config": {"@type": ECHO}}]}],
    }
    return {"static_resources": {"listeners": [listener]}}


def udp(value: dict[str, Any]) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0, "protocol": "UDP"}}
    return {"static_resources": {"listeners": [{"name": "main", "address": address, "listener_filters": [python(value)]}]}}


def test_coroutines_hold_the_chain() -> None:
    with testing.running(tcp({"module": f"{HERE}:Slowly"})) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port("main"))) as client:
            client.settimeout(5)
            client.sendall(b"one")
            assert client.recv(100) == b"ONE"
            client.sendall(b"keep")
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(100)
            client.settimeout(5)
            client.sendall(b"two")
            assert client.recv(100) == b"TWO"
            client.sendall(b"raise")
            assert client.recv(100) == b""
        assert proxy.stats("python_filter.")[f"python_filter.{HERE}.Slowly.errors"] == 1


def test_writes_cannot_wait() -> None:
    with pytest.raises(ConfigError, match="on_write may not be async"), testing.running(tcp({"module": f"{HERE}:AsyncWrite"})):
        pass


def test_udp_filter() -> None:
    with testing.running(udp({"module": f"{HERE}:Shout", "config": {"mark": "!"}})) as proxy:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            for data in (b"raise", b"hello"):
                client.sendto(data, ("127.0.0.1", proxy.port("main")))
            assert client.recv(100) == b"HELLO!"
        assert proxy.stats("python_filter.")[f"python_filter.{HERE}.Shout.errors"] == 1


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as pip would leave it."""
    (tmp_path / "acme_shout.py").write_text(f"from {HERE} import Shout\n")
    info = tmp_path / "acme_shout-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-shout\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[outrider.filters]\nacme.shout = acme_shout:Shout\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "acme_shout", raising=False)


@pytest.mark.usefixtures("installed")
def test_registered_by_a_package() -> None:
    running = testing.running(udp({"filter": "acme.shout"}))
    with running as proxy, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(b"hello", ("127.0.0.1", proxy.port("main")))
        assert client.recv(100) == b"HELLO"


@pytest.mark.usefixtures("installed")
def test_not_registered() -> None:
    refused = pytest.raises(ConfigError, match=r"registers a filter 'acme.whisper'; registered: acme.shout")
    with refused, testing.running(udp({"filter": "acme.whisper"})):
        pass
