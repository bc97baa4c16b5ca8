"""Upstream TLS options by filter state, and sockets in other network namespaces."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from outrider.data.address import KIND_IP, Address
from outrider.data.filter_state import StringState
from outrider.network.address_config import SocketAddressConfig
from outrider.network.listen_socket import BindError, ListenSocket, ListenSocketSettings
from outrider.network.shared_options import (
    APPLICATION_PROTOCOLS,
    SERVER_NAME,
    SUBJECT_ALT_NAMES,
    with_filter_state,
)
from outrider.network.transport_socket import TransportSocketOptions


def test_filter_state_wins() -> None:
    base = TransportSocketOptions("auto.test", ("auto.test",), (), ("h2",))
    state: dict[str, object] = {SERVER_NAME: StringState("sni.test"), SUBJECT_ALT_NAMES: StringState("a.test, b.test")}
    found = with_filter_state(state, base)
    assert found is not None
    assert (found.server_name, found.verify_sans, found.alpn_fallback) == ("sni.test", ("a.test", "b.test"), ("h2",))
    only = with_filter_state({APPLICATION_PROTOCOLS: StringState("h2,http/1.1")}, None)
    assert only is not None
    assert (only.server_name, only.alpn) == ("", ("h2", "http/1.1"))


def test_without_filter_state_nothing_changes() -> None:
    base = TransportSocketOptions("auto.test")
    assert with_filter_state(None, base) is base
    assert with_filter_state({"other": StringState("x")}, base) is base
    assert with_filter_state({}, None) is None


def settings(namespace: str) -> ListenSocketSettings:
    return ListenSocketSettings(SocketAddressConfig(Address(KIND_IP, "127.0.0.1", 0), network_namespace=namespace))


def test_a_missing_namespace_is_an_error() -> None:
    with pytest.raises(BindError, match="cannot bind"):
        ListenSocket(settings("/nonexistent/namespace"), 1)


def test_the_place_names_the_namespace() -> None:
    assert settings("").place == "127.0.0.1:0"
    assert settings("/run/netns/a").place == "127.0.0.1:0@/run/netns/a"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a feature of Linux")
def test_a_socket_in_another_namespace() -> None:
    """A child in a namespace of its own holds it open; our socket is opened there."""
    child = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo; exec sleep 30"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert child.stdout is not None
        if not child.stdout.readline():
            pytest.skip("this user may not make network namespaces")
        path = f"/proc/{child.pid}/ns/net"
        opened = ListenSocket(
            ListenSocketSettings(SocketAddressConfig(Address(KIND_IP, "0.0.0.0", 0), network_namespace=path)), 1
        )
        # Back in our own.
        assert os.readlink("/proc/thread-self/ns/net") == os.readlink("/proc/self/ns/net")
        opened.sockets[0].listen()
        port = opened.sockets[0].getsockname()[1]
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        opened.close()
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
