"""Listener filters: they see a connection before its filter chain is chosen (Envoy's `Network::ListenerFilter`).

A filter that wants bytes returns STOP from `on_accept` and then sees all bytes received so far, each time more have
come, until it returns CONTINUE. The bytes stay for the filters behind and for the connection, but for what it consumes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.data.stream_info import ConnectionInfo
from outrider.event.timer import Timer, TimerOwner
from outrider.network.connection import Connection, RawInspector
from outrider.network.filter import CLOSE_NO_FLUSH, CONTINUE
from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
    from outrider.network.listener_stats import ListenerStats

DEFAULT_TIMEOUT_MS: Final = 15_000


@mypyc_attr(allow_interpreted_subclasses=True)
class ListenerFilter:
    """One filter of one new connection. What it finds out it writes into `callbacks.info`."""

    def max_read_bytes(self) -> int:
        """Bytes it may have to see, 0 for none; a connection that has sent as many and is still asked for more is
        closed."""
        return 0

    def on_accept(self, callbacks: ListenerFilterChain) -> int:
        """The connection has been accepted. STOP waits for bytes (`max_read_bytes()` > 0) or for `continue_chain`."""
        return CONTINUE

    def on_data(self, data: bytes) -> int:
        """All bytes so far. STOP asks for more."""
        return CONTINUE

    def on_close(self) -> None:
        """The connection went away while this filter was waiting."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ListenerFilterFactory:
    """Makes a configured listener filter; `create` cannot fail."""

    def available(self) -> bool:
        """Whether `create` may be called: False while a discovered configuration has not come."""
        return True

    def create(self) -> ListenerFilter:
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class ListenerFilterMatcher:
    """`filter_disabled`: for which connections a listener filter is left out."""

    def matches(self, info: ConnectionInfo) -> bool:
        raise NotImplementedError


class ConfiguredListenerFilter:
    """A factory and the connections that it is not for."""

    __slots__ = ("factory", "disabled")

    def __init__(self, factory: ListenerFilterFactory, disabled: ListenerFilterMatcher | None = None) -> None:
        self.factory = factory
        self.disabled = disabled


# Factories take `(config, context)`: `(View, FactoryContext)`.
LISTENER_FILTERS: ExtensionRegistry[ListenerFilterFactory] = ExtensionRegistry("envoy.filters.listener")


@mypyc_attr(allow_interpreted_subclasses=True)
class ListenerFilterOwner:
    """Told how it ended (the listener)."""

    def on_listener_filters_done(self, chain: ListenerFilterChain) -> None:
        """All filters have passed the connection; `chain.buffer` holds what has been read."""
        raise NotImplementedError

    def on_listener_filters_closed(self, chain: ListenerFilterChain) -> None:
        """The connection is gone before that."""
        raise NotImplementedError


class _ChainTimer(TimerOwner):
    """Receives the timeout of one chain."""

    __slots__ = ("chain",)

    def __init__(self, chain: ListenerFilterChain) -> None:
        self.chain = chain

    def on_timer(self, kind: int) -> None:
        self.chain.on_timeout()


class ListenerFilterChain(RawInspector):
    """The listener filters of one connection at work; what filters see of it is `info`, `consume`, `continue_chain`."""

    __slots__ = (
        "owner", "connection", "info", "stats", "buffer", "_filters", "_index", "_accepted", "_timer",
        "_continue_on_timeout", "_done",
    )  # fmt: skip

    def __init__(
        self,
        owner: ListenerFilterOwner,
        connection: Connection,
        stats: ListenerStats,
        filters: list[ListenerFilter],
        continue_on_timeout: bool,
    ) -> None:
        self.owner = owner
        self.connection = connection
        self.info: ConnectionInfo = connection.info
        self.stats = stats
        self.buffer: bytes = b""
        self._filters = filters
        self._index: int = 0
        # Whether the filter at `_index` has had its `on_accept`.
        self._accepted: bool = False
        self._timer: Timer | None = None
        self._continue_on_timeout = continue_on_timeout
        self._done: bool = False

    def start(self, dispatcher: Dispatcher, timeout_ms: int) -> None:
        """Run; a timeout of 0 waits for ever."""
        self.stats.pre_cx_active.inc()
        self.connection.inspector = self
        if timeout_ms > 0:
            self._timer = dispatcher.timer(_ChainTimer(self), 0)
            self._timer.arm(timeout_ms)
        self._run()

    def consume(self, count: int) -> None:
        """Take the first bytes away (a PROXY header): nobody behind sees them."""
        self.buffer = self.buffer[count:]
        self.connection.bytes_received -= count

    def continue_chain(self, success: bool) -> None:
        """A filter that stopped without wanting bytes is done; without success the connection is closed."""
        if self._done:
            return
        if not success:
            self.fail()
            return
        self._index += 1
        self._accepted = False
        self._run()

    def fail(self) -> None:
        """A filter found the connection unacceptable."""
        if self._done:
            return
        self.stats.listener_filter_error.inc()
        self._close()

    def reject(self) -> None:
        """Close the connection; the filter has counted why."""
        if not self._done:
            self._close()

    def on_raw_data(self, data: bytes) -> None:
        if self._done:
            return
        self.buffer = self.buffer + data if self.buffer else data
        if self._accepted and self._index < len(self._filters):
            current = self._filters[self._index]
            if current.max_read_bytes() > 0:
                self._offer(current)
                return
        self._bound()

    def on_raw_eof(self) -> None:
        if self._done:
            return
        self.stats.listener_filter_remote_close.inc()
        self._close()

    def on_closed(self) -> None:
        """The transport went away by itself."""
        if self._done:
            return
        self.stats.listener_filter_remote_close.inc()
        self._end()
        self._tell_waiting()
        self.owner.on_listener_filters_closed(self)

    def on_timeout(self) -> None:
        if self._done:
            return
        self.stats.pre_cx_timeout.inc()
        if self._continue_on_timeout:
            self._finish()
        else:
            self._close()

    def _run(self) -> None:
        while self._index < len(self._filters):
            current = self._filters[self._index]
            if not self._accepted:
                self._accepted = True
                status = current.on_accept(self)
                if self._done:
                    return
                if status != CONTINUE:
                    if current.max_read_bytes() > 0 and self.buffer:
                        self._offer(current)
                    return
            self._index += 1
            self._accepted = False
        self._finish()

    def _offer(self, current: ListenerFilter) -> None:
        status = current.on_data(self.buffer)
        if self._done:
            return
        if status == CONTINUE:
            self._index += 1
            self._accepted = False
            self._run()
        elif len(self.buffer) >= current.max_read_bytes():
            self.fail()

    def _bound(self) -> None:
        """Nobody wants bytes now: leave the rest in the kernel."""
        if len(self.buffer) > 65536 and self.connection.reading:
            self.connection.read_disable(True)

    def _finish(self) -> None:
        self._end()
        if not self.connection.reading:
            self.connection.read_disable(False)
        self.owner.on_listener_filters_done(self)

    def _close(self) -> None:
        self._end()
        self._tell_waiting()
        connection = self.connection
        self.owner.on_listener_filters_closed(self)
        connection.close(CLOSE_NO_FLUSH)

    def _tell_waiting(self) -> None:
        if self._index < len(self._filters):
            self._filters[self._index].on_close()

    def _end(self) -> None:
        self._done = True
        self.stats.pre_cx_active.dec()
        self.connection.inspector = None
        if self._timer is not None:
            self._timer.disarm()
            self._timer = None
