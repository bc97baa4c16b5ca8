"""Where upstream connections come from: source addresses and socket options (`BindConfig`, `TcpKeepalive`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.data.address import KIND_IP, Address

if TYPE_CHECKING:
    from outrider.network.client_connection import SocketOption


class Source:
    """A source address (None: the system's choice) and the options of its sockets."""

    __slots__ = ("address", "options")

    def __init__(self, address: Address | None, options: list[SocketOption]) -> None:
        self.address = address
        self.options = options


class UpstreamBind:
    """The sources by IP version."""

    __slots__ = ("v4", "v6", "other")

    def __init__(self, v4: Source, v6: Source, other: Source) -> None:
        self.v4 = v4
        self.v6 = v6
        # Unix sockets and the like.
        self.other = other

    def choose(self, target: Address) -> Source:
        """For a connection to that address."""
        if target.kind != KIND_IP:
            return self.other
        return self.v6 if target.is_v6 else self.v4


def plain_bind() -> UpstreamBind:
    """Nothing configured."""
    nothing = Source(None, [])
    return UpstreamBind(nothing, nothing, nothing)
