"""envoy.access_loggers.fluentd: records to a Fluentd server, over one TCP connection a worker.

Source: Envoy documentation, "Fluentd access log"; Fluentd's forward protocol, "Forward Mode".
"""

from __future__ import annotations

import json
from random import getrandbits
from typing import TYPE_CHECKING, Final

from outrider.access_log.access_log import ACCESS_LOGGERS, AccessLog
from outrider.access_log.context import FormatContext
from outrider.access_log.formatter import LineFormatter
from outrider.access_log.json_format import parse_json_format
from outrider.access_log.syntax import FormatError
from outrider.event.timer import Timer, TimerOwner
from outrider.extensions.access_loggers.batch import DEFAULT_INTERVAL_MS, DEFAULT_SIZE
from outrider.extensions.access_loggers.msgpack import pack, pack_array
from outrider.network.filter import CONTINUE, EVENT_CONNECTED, NetworkFilter
from outrider.router.back_off import ExponentialBackOff
from outrider.upstream.conn_pool import PendingStream, TcpPoolCallbacks
from outrider.upstream.load_balancer_context import LoadBalancerContext

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.network.connection import Connection
    from outrider.upstream.host import Host

TYPE: Final = "envoy.extensions.access_loggers.fluentd.v3.FluentdAccessLogConfig"
_BASE_MS: Final = 500
_FLUSH: Final = 0
_RETRY: Final = 1
# What an entry counts for beside its record: the time.
_TIME_BYTES: Final = 8


class FluentdSettings:
    __slots__ = ("cluster", "tag", "interval_ms", "limit", "most_attempts", "base_ms", "max_ms")

    def __init__(self, view: View) -> None:
        """Raises ConfigError."""
        self.cluster = view.text("cluster")
        self.tag = view.text("tag")
        interval = view.millis("buffer_flush_interval")
        self.interval_ms = DEFAULT_INTERVAL_MS if interval is None else interval
        self.limit = view.integer("buffer_size_bytes", DEFAULT_SIZE)
        # -1: any number.
        self.most_attempts = -1
        self.base_ms = _BASE_MS
        self.max_ms = _BASE_MS * 10
        retry = view.message("retry_options")
        if retry is None:
            return
        self.most_attempts = retry.integer("max_connect_attempts", -1)
        back_off = retry.message("backoff_options")
        if back_off is not None:
            self.base_ms = back_off.millis("base_interval") or 1
            self.max_ms = back_off.millis("max_interval") or self.base_ms * 10
            if self.max_ms < self.base_ms:
                raise back_off.error("max_backoff_interval must be greater or equal to base_backoff_interval")


class _Timers(TimerOwner):
    def __init__(self, owner: FluentdConnection) -> None:
        self.owner = owner

    def on_timer(self, kind: int) -> None:
        if kind == _FLUSH:
            self.owner.flush()
        else:
            self.owner.connect()


class _Reader(NetworkFilter):
    """Tells of the connection's end; the server sends nothing that matters."""

    def __init__(self, owner: FluentdConnection) -> None:
        self.owner = owner

    def on_data(self, data: bytes, end_stream: bool) -> int:
        return CONTINUE

    def on_event(self, event: int) -> None:
        if event != EVENT_CONNECTED:
            self.owner.on_closed()


class FluentdConnection(TcpPoolCallbacks):
    """Gathers records of one logger of one worker, and sends them."""

    def __init__(self, settings: FluentdSettings, context: FactoryContext, prefix: str) -> None:
        self.settings = settings
        self.clusters = context.cluster_manager
        self.dispatcher = context.dispatcher
        scope = context.root_scope.scope(f"access_logs.fluentd.{prefix}.")
        self.entries_lost = scope.counter("entries_lost")
        self.entries_buffered = scope.counter("entries_buffered")
        self.events_sent = scope.counter("events_sent")
        self.reconnect_attempts = scope.counter("reconnect_attempts")
        self.connections_closed = scope.counter("connections_closed")
        self.entries: list[bytes] = []
        self.size = 0
        self.connection: Connection | None = None
        self.pending: PendingStream | None = None
        self.connecting = False
        # No attempt is left.
        self.given_up = False
        self.attempts = 0
        self.back_off = ExponentialBackOff(settings.base_ms, settings.max_ms)
        self._timers = _Timers(self)
        self._flush_timer: Timer | None = None
        self._retry_timer: Timer | None = None
        self._reader: _Reader | None = None

    def add(self, seconds: int, record: object) -> None:
        """Take a record, or lose it."""
        settings = self.settings
        if self.given_up or self.size >= settings.limit:
            self.entries_lost.inc()
            return
        entry = bytearray()
        pack_array(2, entry)
        pack(seconds, entry)
        pack(record, entry)
        self.entries.append(bytes(entry))
        self.size += len(entry) + _TIME_BYTES + len(settings.tag)
        self.entries_buffered.inc()
        if self.size >= settings.limit:
            self.flush()
        else:
            if self._flush_timer is None:
                self._flush_timer = self.dispatcher.timer(self._timers, _FLUSH)
            if not self._flush_timer.armed:
                self._flush_timer.arm(settings.interval_ms)

    def flush(self) -> None:
        if not self.entries or self.connecting:
            return
        connection = self.connection
        if connection is None:
            if self._retry_timer is None or not self._retry_timer.armed:
                self.connect()
            return
        message = bytearray()
        pack_array(2, message)
        pack(self.settings.tag, message)
        pack_array(len(self.entries), message)
        for entry in self.entries:
            message += entry
        self._forget()
        self.events_sent.inc()
        connection.write(bytes(message))

    def connect(self) -> None:
        self.attempts += 1
        self.connecting = True
        cluster = self.clusters.get(self.settings.cluster)
        pool = None if cluster is None else cluster.choose_tcp_pool(0, LoadBalancerContext())
        if pool is None:
            self.on_closed()
            return
        pending = pool.new_connection(self)
        if self.connecting:
            self.pending = pending

    def on_pool_ready(self, connection: Connection, host: Host) -> None:
        self.pending = None
        self.connecting = False
        self.connection = connection
        self.back_off = ExponentialBackOff(self.settings.base_ms, self.settings.max_ms)
        self._reader = _Reader(self)
        connection.add_filter(self._reader)
        connection.add_callbacks(self._reader)
        self.flush()

    def on_pool_failure(self, reason: int, details: str, host: Host) -> None:
        self.on_closed()

    def on_closed(self) -> None:
        """There is no connection, or none any more: try again after a while."""
        self.pending = None
        self.connecting = False
        self.connection = None
        self._reader = None
        self.connections_closed.inc()
        if 0 <= self.settings.most_attempts <= self.attempts:
            self.given_up = True
            self.entries_lost.add(len(self.entries))
            self._forget()
            return
        self.reconnect_attempts.inc()
        if self._retry_timer is None:
            self._retry_timer = self.dispatcher.timer(self._timers, _RETRY)
        self._retry_timer.arm(self.back_off.next_ms(getrandbits(62)))

    def _forget(self) -> None:
        self.entries = []
        self.size = 0


class FluentdAccessLog(AccessLog):
    def __init__(self, formatter: LineFormatter, connection: FluentdConnection) -> None:
        self.formatter = formatter
        self.connection = connection

    def emit(self, context: FormatContext) -> None:
        record = json.loads(self.formatter.format_bytes(context))
        self.connection.add(context.stream_info.start_time_ns // 1_000_000_000, record)


@ACCESS_LOGGERS.register("envoy.access_loggers.fluentd", TYPE)
def create(config: View, context: FactoryContext) -> AccessLog:
    """Raises ConfigError."""
    settings = FluentdSettings(config)
    if not context.cluster_manager.has(settings.cluster):
        raise config.error(f"Unknown cluster '{settings.cluster}'", "cluster")
    try:
        formatter = parse_json_format(config.struct("record") or {})
    except FormatError as error:
        raise config.error(str(error), "record") from None
    prefix = config.text("stat_prefix")
    key = f"access_log_batch.fluentd.{config.message_bytes().hex()}"
    found = context.singletons.get(key)
    if not isinstance(found, FluentdConnection):
        found = FluentdConnection(settings, context, prefix)
        context.singletons[key] = found
    return FluentdAccessLog(formatter, found)
