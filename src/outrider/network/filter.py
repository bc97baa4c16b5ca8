"""Network (L4) filters: Envoy's `ReadFilter` and `WriteFilter` as one base class.

Source: Envoy documentation, "Network (L3/L4) filters". Bytes reach `on_data` once: a filter that returns STOP has taken
them and may later hand them (or others) on with `continue_reading`. A filter that only looks returns CONTINUE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from outrider.network.connection import Connection

# Filter status.
CONTINUE: Final = 0
STOP: Final = 1

# Connection events (`on_event`).
EVENT_CONNECTED: Final = 0
EVENT_REMOTE_CLOSE: Final = 1
EVENT_LOCAL_CLOSE: Final = 2

# Ways to close.
CLOSE_FLUSH_WRITE: Final = 0
CLOSE_NO_FLUSH: Final = 1
CLOSE_FLUSH_WRITE_AND_DELAY: Final = 2
CLOSE_ABORT_RESET: Final = 3


@mypyc_attr(allow_interpreted_subclasses=True)
class ConnectionCallbacks:
    """Told of a connection's life and of its write buffer's watermarks."""

    def on_event(self, event: int) -> None:
        """One of EVENT_*. After a close event the connection is gone."""

    def on_above_write_buffer_high_watermark(self) -> None:
        """Stop producing for this connection."""

    def on_below_write_buffer_low_watermark(self) -> None:
        """Go on producing."""


@mypyc_attr(allow_interpreted_subclasses=True)
class NetworkFilter(ConnectionCallbacks):
    """One filter of one connection. Hooks that a subclass does not override cost nothing."""

    connection: Connection
    # Place in the chain, set by the connection.
    index: int

    def initialize(self, connection: Connection) -> None:
        """Called once, before any other hook. A filter that wants events adds itself with `add_callbacks`."""
        self.connection = connection

    def on_new_connection(self) -> int:
        """The connection is established. STOP holds back the filters behind until `continue_reading`."""
        return CONTINUE

    def on_data(self, data: bytes, end_stream: bool) -> int:
        """Bytes from the peer; `end_stream` says the peer has finished sending (they may be empty then)."""
        return CONTINUE

    def on_write(self, data: bytes, end_stream: bool) -> int:
        """Bytes on their way to the peer. STOP takes them; `continue_writing` hands bytes on."""
        return CONTINUE

    def continue_reading(self, data: bytes = b"", end_stream: bool = False) -> None:
        """Resume behind this filter with `data`."""
        self.connection.continue_reading(self, data, end_stream)

    def on_overload_changed(self) -> None:
        """Overload actions are on or off otherwise than before: timeouts may have to be others."""

    def on_destroy(self) -> None:
        """The connection is gone; drop references."""
