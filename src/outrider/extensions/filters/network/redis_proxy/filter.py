"""One client's connection: commands in, answers out in their order; authentication and transactions."""

from __future__ import annotations

import hmac
from collections import deque
from typing import TYPE_CHECKING, Final

from outrider.extensions.filters.network.redis_proxy import commands
from outrider.extensions.filters.network.redis_proxy.client import Reply
from outrider.extensions.filters.network.redis_proxy.resp import (
    OK,
    Failure,
    ProtocolError,
    RespReader,
    encode,
)
from outrider.extensions.filters.network.redis_proxy.splitter import INVALID, NO_HOST, Answer, Splitter
from outrider.network.filter import CLOSE_FLUSH_WRITE, EVENT_CONNECTED, STOP, NetworkFilter

if TYPE_CHECKING:
    from outrider.extensions.filters.network.redis_proxy.pool import RedisPool
    from outrider.extensions.filters.network.redis_proxy.settings import RedisSettings
    from outrider.network.connection import Connection

# Commands of one client that wait for their answers; then it is not read.
MAX_OUTSTANDING: Final = 10_000
NO_AUTH: Final = Failure(b"NOAUTH Authentication required.")


class Slot(Reply):
    """The place of an answer."""

    __slots__ = ("filter", "value", "done")

    def __init__(self, owner: RedisFilter) -> None:
        self.filter: RedisFilter | None = owner
        self.value: object = None
        self.done: bool = False

    def on_reply(self, value: object) -> None:
        owner = self.filter
        if self.done or owner is None:
            return
        self.value = value
        self.done = True
        owner.flush()


class RedisFilter(NetworkFilter):
    """The filter."""

    def __init__(self, settings: RedisSettings, splitter: Splitter) -> None:
        self.settings = settings
        self.splitter = splitter
        self._reader = RespReader(True)
        self._slots: deque[Slot] = deque()
        self._authenticated: bool = not settings.passwords
        self._reading: bool = False
        self._paused: bool = False
        self._quit: bool = False
        # A transaction is open; its commands go over a connection of their own, once a key says to which cluster.
        self._multi: bool = False
        self._transaction: RedisPool | None = None
        self._transaction_key: bytes = b""

    def initialize(self, connection: Connection) -> None:
        NetworkFilter.initialize(self, connection)
        connection.add_callbacks(self)
        stats = self.settings.stats
        connection.stats = stats.connection
        stats.cx_total.inc()
        stats.cx_active.inc()

    def on_data(self, data: bytes, end_stream: bool) -> int:
        try:
            values = self._reader.feed(data)
        except ProtocolError:
            self.settings.stats.cx_protocol_error.inc()
            self.connection.write(encode(Failure(b"downstream protocol error")))
            self.connection.close(CLOSE_FLUSH_WRITE)
            return STOP
        self._reading = True
        for value in values:
            if self._quit:
                break
            slot = Slot(self)
            self._slots.append(slot)
            self.settings.stats.rq_total.inc()
            self.settings.stats.rq_active.inc()
            self._take(value, slot)
        self._reading = False
        self.flush()
        if len(self._slots) > MAX_OUTSTANDING and not self._paused:
            self._paused = True
            self.connection.read_disable(True)
        return STOP

    def _take(self, value: object, slot: Slot) -> None:
        arguments: list[bytes] = []
        if isinstance(value, list):
            for each in value:
                if not isinstance(each, bytes):
                    arguments = []
                    break
                arguments.append(each)
        if not arguments:
            self.settings.stats.invalid.inc()
            slot.on_reply(INVALID)
            return
        name = arguments[0].lower()
        if name == b"quit":
            self._quit = True
            slot.on_reply(OK)
        elif name == b"auth":
            slot.on_reply(self._authenticate(arguments))
        elif not self._authenticated:
            slot.on_reply(NO_AUTH)
        elif name == b"hello":
            self._hello(arguments, slot)
        elif self._multi or name in (b"multi", b"exec", b"discard", b"watch", b"unwatch"):
            self._in_transaction(name, arguments, slot)
        else:
            self.splitter.submit(arguments, slot)

    def _hello(self, arguments: list[bytes], slot: Slot) -> None:
        """Version 2 is what there is."""
        self.settings.stats.rq_noproto.inc()
        slot.on_reply(Failure(b"NOPROTO unsupported protocol version"))

    # --- authentication ---

    def _authenticate(self, arguments: list[bytes]) -> object:
        settings = self.settings
        if len(arguments) == 2:
            if not settings.passwords:
                return Failure(b"ERR Client sent AUTH, but no password is set")
            self._authenticated = _known(arguments[1], settings.passwords)
            return OK if self._authenticated else Failure(b"ERR invalid password")
        if len(arguments) == 3:
            if not settings.passwords:
                return Failure(b"ERR Client sent AUTH, but no username-password pair is set")
            same = not settings.username or hmac.compare_digest(arguments[1], settings.username)
            self._authenticated = same and bool(settings.username) and _known(arguments[2], settings.passwords)
            return OK if self._authenticated else Failure(b"WRONGPASS invalid username-password pair")
        return INVALID

    # --- transactions ---

    def _in_transaction(self, name: bytes, arguments: list[bytes], slot: Slot) -> None:
        stats = self.settings.command_stats.get(name)
        if name == b"multi":
            if self._multi:
                slot.on_reply(Failure(b"MULTI calls can not be nested"))
                return
            self._multi = True
            self._count(name)
            if self._transaction is not None:
                # Keys are watched on that connection.
                self._transaction.send(self._transaction_key, [b"multi"], _Quiet())
            slot.on_reply(OK)
            return
        if name in (b"exec", b"discard") and not self._multi:
            self._count(name)
            slot.on_reply(Failure(name.upper() + b" without MULTI"))
            return
        if name == b"unwatch" and self._transaction is None:
            self._count(name)
            slot.on_reply(OK)
            return
        if name in (b"exec", b"discard", b"unwatch"):
            pool = self._transaction
            self._count(name)
            if name != b"unwatch":
                self._multi = False
            if pool is None:
                slot.on_reply([] if name == b"exec" else OK)
                return
            last: Reply = slot if self._multi else _Last(slot, pool)
            if not pool.send(self._transaction_key, arguments, last):
                last.on_reply(NO_HOST)
            if not self._multi:
                self._transaction = None
            return
        kind = self.settings.kinds.get(name)
        if stats is None or kind is None or len(arguments) < 2:
            self.splitter.submit(arguments, slot)
            return
        if kind not in (commands.SIMPLE, commands.TRANSACTION):
            slot.on_reply(Failure(b"'" + name + b"' command is not supported within transaction"))
            return
        key = arguments[1]
        route = self.settings.routes.find(key)
        pool = self._transaction
        if pool is None and route is not None:
            pool = self.settings.new_pool(route.cluster)
            self._transaction = pool
            self._transaction_key = key
            if pool is not None and self._multi and not pool.send(key, [b"multi"], _Quiet()):
                pool = None
        if pool is None:
            slot.on_reply(NO_HOST)
            return
        stats.total.inc()
        if not pool.send(self._transaction_key, arguments, Answer(slot, stats)):
            slot.on_reply(NO_HOST)

    def _count(self, name: bytes) -> None:
        stats = self.settings.command_stats.get(name)
        if stats is not None:
            stats.total.inc()
            stats.success.inc()

    # --- answers ---

    def flush(self) -> None:
        """Send the answers that are there, as far as none before them is missing."""
        if self._reading:
            return
        slots = self._slots
        parts: list[bytes] = []
        while slots and slots[0].done:
            parts.append(encode(slots.popleft().value))
            self.settings.stats.rq_active.dec()
        if parts:
            self.connection.write(b"".join(parts))
        if self._paused and len(slots) < MAX_OUTSTANDING // 2:
            self._paused = False
            self.connection.read_disable(False)
        if self._quit and not slots:
            self.connection.close(CLOSE_FLUSH_WRITE)

    def on_event(self, event: int) -> None:
        if event == EVENT_CONNECTED:
            return
        self.settings.stats.cx_active.dec()
        for slot in self._slots:
            slot.filter = None
            self.settings.stats.rq_active.dec()
        self._slots.clear()
        if self._transaction is not None:
            self._transaction.close()
            self._transaction = None

    def on_above_write_buffer_high_watermark(self) -> None:
        # Answers are not to pile up for a client that does not take them.
        self.connection.read_disable(True)

    def on_below_write_buffer_low_watermark(self) -> None:
        self.connection.read_disable(False)


class _Last(Reply):
    """The answer that a transaction ends with: its connection is not needed any more."""

    __slots__ = ("slot", "pool")

    def __init__(self, slot: Slot, pool: RedisPool) -> None:
        self.slot = slot
        self.pool = pool

    def on_reply(self, value: object) -> None:
        self.slot.on_reply(value)
        self.pool.close()


class _Quiet(Reply):
    """The answer to a command that the client did not send."""

    __slots__ = ()

    def on_reply(self, value: object) -> None:
        pass


def _known(given: bytes, passwords: list[bytes]) -> bool:
    found = False
    for password in passwords:
        found = hmac.compare_digest(given, password) or found
    return found
