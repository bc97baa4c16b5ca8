"""Listening sockets: opened and bound by the main process, inherited by its workers.

With SO_REUSEPORT each worker has a socket of its own, and the kernel spreads connections over them. Main keeps them all
open: when a worker dies, what waits in its queue waits for its replacement.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence
from typing import Final

from outrider.data.address import KIND_PIPE, Address, from_sockname
from outrider.network.address_config import BOUND, LISTENING, PREBIND, ConfiguredOption, SocketAddressConfig
from outrider.network.network_namespace import network_namespace

IP_FREEBIND: Final = 15
IP_TRANSPARENT: Final = getattr(socket, "IP_TRANSPARENT", 19)
IPV6_TRANSPARENT: Final = 75
IPPROTO_MPTCP: Final = getattr(socket, "IPPROTO_MPTCP", 262)
# Envoy's `ENVOY_TCP_BACKLOG_SIZE`, 128, unless the configuration says otherwise.
DEFAULT_BACKLOG: Final = 128


class BindError(Exception):
    """A socket could not be opened; the text is for the user."""


class ListenSocketSettings:
    """How one address of a listener is opened."""

    __slots__ = (
        "address", "options", "backlog", "reuse_port", "freebind", "transparent", "fast_open_queue", "mptcp", "bind",
    )  # fmt: skip

    def __init__(self, address: SocketAddressConfig) -> None:
        self.address = address
        self.options: list[ConfiguredOption] = []
        self.backlog: int = DEFAULT_BACKLOG
        self.reuse_port: bool = True
        self.freebind: bool | None = None
        self.transparent: bool | None = None
        # Length of the queue; None leaves TCP fast open as the system has it, 0 turns it off.
        self.fast_open_queue: int | None = None
        self.mptcp: bool = False
        self.bind: bool = True

    @property
    def place(self) -> str:
        """What is bound: no two listeners may have the same. TCP and UDP do not meet."""
        address = self.address.address
        place = address.text + "/udp" if address.protocol == "UDP" else address.text
        namespace = self.address.network_namespace
        return f"{place}@{namespace}" if namespace else place

    def key(self) -> tuple[object, ...]:
        """Equal for settings that open the same sockets."""
        options = tuple((each.state, each.level, each.name, each.value) for each in self.options)
        address = self.address
        return (
            self.place, address.ipv4_compat, address.mode, self.backlog, self.reuse_port, self.freebind,
            self.transparent, self.fast_open_queue, self.mptcp, self.bind, options,
        )  # fmt: skip


class ListenSocket:
    """The sockets of one address: one per worker with SO_REUSEPORT, else one that all share."""

    __slots__ = ("settings", "sockets", "address", "holders", "listening", "_made_path")

    def __init__(self, settings: ListenSocketSettings, count: int) -> None:
        """Open and bind, for `count` workers. Raises BindError."""
        self.settings = settings
        self.sockets: list[socket.socket] = []
        self._made_path: str = ""
        # How many listeners use it (an update may keep the sockets of the one before).
        self.holders: int = 0
        self.listening: bool = False
        # What is really bound (port 0 has become a number).
        self.address: Address = settings.address.address
        if not settings.bind:
            return
        single = not settings.reuse_port or self.address.kind == KIND_PIPE
        try:
            with network_namespace(settings.address.network_namespace):
                for _ in range(1 if single else max(count, 1)):
                    self.sockets.append(self._open((not single and count > 1) or settings.reuse_port))
        except OSError as error:
            self.close()
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise BindError(f"cannot bind '{self.settings.address.address.text}': {reason}") from None

    def _open(self, reuse_port: bool) -> socket.socket:
        settings = self.settings
        address = self.address
        if address.kind == KIND_PIPE:
            return self._open_pipe(address.host)
        family = socket.AF_INET6 if address.is_v6 else socket.AF_INET
        protocol = IPPROTO_MPTCP if settings.mptcp else 0
        datagram = address.protocol == "UDP"
        kind = socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM
        opened = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
        try:
            opened.setblocking(False)
            if not datagram:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port and hasattr(socket, "SO_REUSEPORT"):
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if address.is_v6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if settings.address.ipv4_compat else 1)
            if settings.freebind is not None:
                opened.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, int(settings.freebind))
            if settings.transparent is not None:
                if address.is_v6:
                    opened.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, int(settings.transparent))
                else:
                    opened.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, int(settings.transparent))
            self._apply(opened, PREBIND)
            host, _, zone = address.host.partition("%")
            if address.is_v6:
                opened.bind((host, address.port, 0, _scope(zone)))
            else:
                opened.bind((host, address.port))
            self._apply(opened, BOUND)
            if address.port == 0:
                bound = from_sockname(opened.getsockname())
                self.address = Address(address.kind, address.host, bound.port, address.protocol)
        except BaseException:
            opened.close()
            raise
        return opened

    def _open_pipe(self, path: str) -> socket.socket:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            opened.setblocking(False)
            self._apply(opened, PREBIND)
            if path.startswith("@"):
                opened.bind("\0" + path[1:])
            else:
                remove_stale_socket(path)
                opened.bind(path)
                self._made_path = path
                if self.settings.address.mode:
                    os.chmod(path, self.settings.address.mode)
            self._apply(opened, BOUND)
        except BaseException:
            opened.close()
            raise
        return opened

    def _apply(self, opened: socket.socket, state: str) -> None:
        for option in self.settings.options:
            if option.state == state:
                option.apply(opened)

    def listen(self) -> None:
        """Begin to take connections, if that has not been done. Raises BindError."""
        if self.listening:
            return
        self.listening = True
        if self.address.protocol == "UDP":
            # Bound is enough.
            return
        try:
            for opened in self.sockets:
                opened.listen(self.settings.backlog)
                if self.settings.fast_open_queue is not None and self.address.kind != KIND_PIPE:
                    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, self.settings.fast_open_queue)
                self._apply(opened, LISTENING)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise BindError(f"cannot listen on '{self.address.text}': {reason}") from None

    def for_worker(self, index: int) -> socket.socket:
        """A duplicate of the socket that worker `index` is to accept from."""
        return self.sockets[index if len(self.sockets) > 1 else 0].dup()

    def descriptor(self, index: int) -> int:
        """That of the socket that worker `index` is to accept from; it stays ours."""
        return self.sockets[index if len(self.sockets) > 1 else 0].fileno()

    def shut_down(self) -> None:
        """Stop listening, whoever else holds the sockets, and close: further connections are refused."""
        for opened in self.sockets:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        self.close()

    def close(self) -> None:
        for opened in self.sockets:
            opened.close()
        self.sockets.clear()
        if self._made_path:
            with contextlib.suppress(OSError):
                os.unlink(self._made_path)
            self._made_path = ""

    def forget(self) -> None:
        """Close without removing a socket's path: the process that made it still serves it."""
        self._made_path = ""
        self.close()


def _scope(zone: str) -> int:
    if not zone:
        return 0
    return int(zone) if zone.isdigit() else socket.if_nametoindex(zone)


def remove_stale_socket(path: str) -> None:
    """Remove a Unix socket that nobody listens on any more. Raises OSError (EADDRINUSE) when somebody does."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.setblocking(False)
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from None
    else:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    finally:
        probe.close()


def mptcp_available() -> bool:
    """Whether this system has multipath TCP."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP).close()
    except OSError:
        return False
    return True


def close_all(sockets: Sequence[ListenSocket]) -> None:
    for each in sockets:
        each.close()
