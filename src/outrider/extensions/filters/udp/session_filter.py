"""Session filters of the UDP proxy: each datagram of a session passes them, towards upstream and back.

Source: Envoy documentation, "UDP proxy", "Session filters".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.extensions.filters.udp.udp_session import UdpSession

CONTINUE: Final = 0
STOP: Final = 1


@mypyc_attr(allow_interpreted_subclasses=True)
class UdpSessionFilter:
    """One filter of one session."""

    session: UdpSession
    index: int = 0

    def initialize(self, session: UdpSession, index: int) -> None:
        self.session = session
        self.index = index

    def on_new_session(self) -> int:
        """STOP holds the creation of the upstream until `session.continue_filter_chain`."""
        return CONTINUE

    def on_data(self, data: bytes) -> int:
        """A datagram from downstream. STOP takes it; `session.inject_to_upstream` hands one on."""
        return CONTINUE

    def on_write(self, data: bytes) -> int:
        """A datagram from upstream. STOP takes it; `session.inject_to_downstream` hands one on."""
        return CONTINUE

    def on_session_complete(self) -> None:
        """Before the session's log is written."""


@mypyc_attr(allow_interpreted_subclasses=True)
class UdpSessionFilterFactory:
    def create(self) -> UdpSessionFilter:
        raise NotImplementedError


# Factories take `(config, context)`: `(View, FactoryContext)`.
UDP_SESSION_FILTERS: ExtensionRegistry[UdpSessionFilterFactory] = ExtensionRegistry("envoy.filters.udp.session")
