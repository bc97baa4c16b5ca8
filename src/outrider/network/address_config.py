"""Addresses and socket options as configuration gives them (`envoy.config.core.v3.Address`, `SocketOption`)."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from outrider.config.view import View
from outrider.data.address import KIND_IP, KIND_PIPE, Address

PREBIND: Final = "STATE_PREBIND"
BOUND: Final = "STATE_BOUND"
LISTENING: Final = "STATE_LISTENING"


class SocketAddressConfig:
    """An address to bind: where, and how it is to be opened."""

    __slots__ = ("address", "ipv4_compat", "mode", "network_namespace", "protocol")

    def __init__(
        self, address: Address, ipv4_compat: bool = False, mode: int = 0, network_namespace: str = ""
    ) -> None:
        self.address = address
        # An IPv6 socket that takes IPv4 connections, too.
        self.ipv4_compat = ipv4_compat
        # Permission bits of a Unix socket; 0 leaves them to the umask.
        self.mode = mode
        # File of the network namespace that the socket is opened in; empty: this process' own.
        self.network_namespace = network_namespace
        self.protocol = address.protocol

    def __repr__(self) -> str:
        return f"SocketAddressConfig({self.address.text})"


def read_bind_address(view: View) -> SocketAddressConfig:
    """An `Address` to listen on. Raises ConfigError for what cannot be bound."""
    kind = view.which("address")
    if kind == "pipe":
        pipe = view.message("pipe")
        assert pipe is not None
        return SocketAddressConfig(Address(KIND_PIPE, pipe.text("path"), 0), mode=pipe.integer("mode"))
    if kind == "socket_address":
        given = view.message("socket_address")
        assert given is not None
        protocol = given.enum("protocol")
        host = given.text("address")
        if given.which("port_specifier") == "named_port":
            raise given.error("IP resolver can't handle port specifier type 4", "named_port")
        resolver = given.text("resolver_name")
        if resolver and resolver != "envoy.ip":
            raise given.error(f"Unknown address resolver: {resolver}", "resolver_name")
        try:
            parsed = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            raise given.error(f"malformed IP address: {host}", "address") from None
        address = Address(KIND_IP, host if "%" in host else str(parsed), given.integer("port_value"), protocol)
        compat = given.flag("ipv4_compat")
        if compat and not (
            isinstance(parsed, ipaddress.IPv6Address) and (int(parsed) == 0 or parsed.ipv4_mapped is not None)
        ):
            raise given.error(
                "Only IPv6 address '::' or valid IPv4-mapped IPv6 address can set ipv4_compat: " + address.text,
                "ipv4_compat",
            )
        return SocketAddressConfig(address, compat, network_namespace=given.text("network_namespace_filepath"))
    raise view.error("address must be a socket_address or a pipe")


class ConfiguredOption:
    """One `SocketOption`."""

    __slots__ = ("level", "name", "value", "state")

    def __init__(self, level: int, name: int, value: int | bytes, state: str = PREBIND) -> None:
        self.level = level
        self.name = name
        self.value = value
        self.state = state

    def apply(self, target: socket.socket) -> None:
        """Raises OSError."""
        target.setsockopt(self.level, self.name, self.value)

    def __repr__(self) -> str:
        return f"ConfiguredOption({self.level}, {self.name}, {self.value!r}, {self.state})"


def read_socket_options(views: list[View]) -> list[ConfiguredOption]:
    """Options for stream sockets. Raises ConfigError for one without a value."""
    options: list[ConfiguredOption] = []
    for view in views:
        # For people only.
        view.accept("description")
        kind = view.which("value")
        value: int | bytes
        if kind == "int_value":
            value = view.integer("int_value")
        elif kind == "buf_value":
            value = view.data("buf_value")
        else:
            raise view.error("a socket option needs int_value or buf_value")
        applies = True
        if view.has("type"):
            kinds = view.message("type")
            assert kinds is not None
            # Of the two kinds that can be named, only streams concern a TCP listener.
            if kinds.has("datagram") and not kinds.has("stream"):
                applies = False
            stream = kinds.message("stream")
            if stream is not None:
                kinds.accept("stream")
            kinds.accept("datagram")
        if applies:
            options.append(ConfiguredOption(view.integer("level"), view.integer("name"), value, view.enum("state")))
    return options


def read_keepalive(view: View | None) -> list[ConfiguredOption]:
    """The options of a `TcpKeepalive`."""
    if view is None:
        return []
    options = [ConfiguredOption(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for field, number in (
        ("keepalive_probes", getattr(socket, "TCP_KEEPCNT", 0)),
        ("keepalive_time", getattr(socket, "TCP_KEEPIDLE", 0)),
        ("keepalive_interval", getattr(socket, "TCP_KEEPINTVL", 0)),
    ):
        if view.has(field):
            options.append(ConfiguredOption(socket.IPPROTO_TCP, number, view.integer(field)))
    return options
