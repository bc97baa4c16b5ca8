"""TCP sockets without a layer between; Linux only (epoll). See `load_sockets` for where this is missing."""

from typing import Any

class Poller:
    """Watches sockets for one loop, by one descriptor that the loop watches.

    What is ready is handled in one batch; `dispatcher.cork` is active meanwhile, so that all writes go out at its end.
    Exceptions of callbacks go to the loop's exception handler, and the socket is closed.
    """

    def __init__(self, dispatcher: Any) -> None:
        """`dispatcher` has `loop` and `cork`. Raises OSError."""

    def run(self) -> None:
        """Handle what is ready now."""

    def close(self) -> None:
        """Watch nothing any more; sockets stay open."""

class SocketTransport:
    """A connected socket as asyncio's `Transport` describes it, for a protocol with the methods of `asyncio.Protocol`.

    `connection_lost` comes later, never from within a call. Bytes are sent at once as far as the kernel takes them.
    """

    def __init__(self, poller: Poller, fd: int, protocol: Any, peer: tuple[str, int] | None = None) -> None:
        """Own the non-blocking socket `fd`."""

    def start(self) -> None:
        """Begin to read. Raises OSError."""

    def write(self, data: bytes) -> None: ...
    def writelines(self, pieces: list[bytes]) -> None: ...
    def write_eof(self) -> None: ...
    def can_write_eof(self) -> bool: ...
    def get_write_buffer_size(self) -> int: ...
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def is_reading(self) -> bool: ...
    def is_closing(self) -> bool: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def relay_to(self, sink: SocketTransport | None, relay: Any) -> None:
        """Let bytes that come in large amounts go to `sink` within the kernel (splice), None: no more.

        `relay.on_relayed(count)` is told of what `data_received` then does not see. The end of the stream, errors and
        small amounts come as ever. What waits for `sink` counts in its write buffer, as if it had been written.
        The sink's protocol has `flush_corked()`, which writes what it holds back.
        """

    def fileno(self) -> int: ...
    def get_protocol(self) -> Any: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername`, `sockname` as (host, port), and `socket`, an object for options: not to be closed."""

def connect(poller: Poller, host: str, port: int, protocol: Any, attempt: Any) -> SocketTransport:
    """Begin to connect to an IP literal, with TCP_NODELAY.

    `protocol.connection_made` or `attempt.on_connect_failed(errno)` follows, neither after `abort`. Raises OSError for
    what fails at once, ValueError for a host that is no literal.
    """

class Acceptor:
    """Accepts from the non-blocking listening socket `fd`, at most `limit` at a time (0: all there are).

    `owner.on_accepted(fd, peer)` for each, with the peer's (host, port), None unless IP; the descriptor is the owner's.
    `owner.on_accepted_batch(count)` after them. TCP_NODELAY is set on the listening socket, and so on what it accepts.
    """

    def __init__(self, poller: Poller, fd: int, owner: Any, limit: int = 0) -> None: ...
    def stop(self) -> None:
        """Accept no more; the listening socket stays open."""

    def resume(self) -> None: ...
