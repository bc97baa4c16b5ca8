"""Takes commands apart, sends the parts where their keys live, and puts the answers together.

Source: Envoy documentation, "Redis"; error texts are Envoy's.
"""

from __future__ import annotations

from time import monotonic_ns, time
from typing import TYPE_CHECKING, Final

from outrider.event.timer import Timer, TimerOwner
from outrider.extensions.filters.network.redis_proxy import commands
from outrider.extensions.filters.network.redis_proxy.client import Ignored, Reply
from outrider.extensions.filters.network.redis_proxy.pool import RedisPool
from outrider.extensions.filters.network.redis_proxy.resp import OK, Failure, Simple
from outrider.stats.metrics import UNIT_MICROSECONDS, UNIT_MILLISECONDS, Counter, Histogram

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
    from outrider.extensions.filters.network.redis_proxy.settings import Mirror, RedisRoute, RedisSettings
    from outrider.stats.store import Scope

NO_HOST: Final = Failure(b"no upstream host")
INVALID: Final = Failure(b"invalid request")
FAULT: Final = Failure(b"Fault Injected: Error")


class CommandStats:
    """`redis.<stat_prefix>.command.<command>.*`"""

    __slots__ = ("total", "success", "error", "error_fault", "delay_fault", "latency", "micros")

    def __init__(self, scope: Scope, name: str, micros: bool) -> None:
        prefix = f"command.{name}."
        self.total: Counter = scope.counter(prefix + "total")
        self.success: Counter = scope.counter(prefix + "success")
        self.error: Counter = scope.counter(prefix + "error")
        self.error_fault: Counter = scope.counter(prefix + "error_fault")
        self.delay_fault: Counter = scope.counter(prefix + "delay_fault")
        self.latency: Histogram = scope.histogram(
            prefix + "latency", UNIT_MICROSECONDS if micros else UNIT_MILLISECONDS
        )
        self.micros = micros


class Answer(Reply):
    """One command's way to its answer."""

    __slots__ = ("slot", "stats", "start_ns", "delay")

    def __init__(self, slot: Reply, stats: CommandStats) -> None:
        self.slot = slot
        self.stats = stats
        self.start_ns: int = monotonic_ns()
        self.delay: _Delay | None = None

    def on_reply(self, value: object) -> None:
        if self.delay is not None and not self.delay.over:
            self.delay.value = value
            self.delay.waiting = True
            return
        self.finish(value)

    def finish(self, value: object) -> None:
        stats = self.stats
        failed = isinstance(value, Failure) or (
            isinstance(value, list) and any(isinstance(each, Failure) for each in value)
        )
        # What the server itself complains of is a success of the proxy.
        ours = isinstance(value, Failure) and (
            value.text in _OWN_FAILURES or value.text.startswith(b"finished with ")
        )
        if ours or (failed and isinstance(value, list)):
            stats.error.inc()
        else:
            stats.success.inc()
        micros = (monotonic_ns() - self.start_ns) // 1000
        stats.latency.record(micros if stats.micros else micros // 1000)
        self.slot.on_reply(value)


_OWN_FAILURES: Final = (b"upstream failure", b"no upstream host", b"Fault Injected: Error")


class _Delay(TimerOwner):
    """Holds an answer back."""

    def __init__(self, answer: Answer, dispatcher: Dispatcher, delay_ms: int) -> None:
        self.answer = answer
        self.over: bool = False
        self.waiting: bool = False
        self.value: object = None
        self._timer: Timer = dispatcher.timer(self, 0)
        self._timer.arm(delay_ms)

    def on_timer(self, kind: int) -> None:
        self.over = True
        if self.waiting:
            self.answer.finish(self.value)


class Gathering(Reply):
    """Waits for several answers."""

    def __init__(self, answer: Answer, kind: int, count: int) -> None:
        self.answer = answer
        self.kind = kind
        self.left: int = count
        self.values: list[object] = [None] * count

    def on_reply(self, value: object) -> None:
        raise NotImplementedError

    def put(self, index: int, value: object) -> None:
        self.values[index] = value
        self.left -= 1
        if self.left == 0:
            self.answer.on_reply(self._together())

    def _together(self) -> object:
        values = self.values
        if self.kind == commands.MGET:
            return list(values)
        bad = [value for value in values if isinstance(value, Failure)]
        if bad:
            return Failure(b"finished with %d error(s)" % len(bad)) if self.kind != commands.EVERYWHERE else bad[0]
        if self.kind == commands.SUM:
            return sum([value for value in values if isinstance(value, int)])
        if self.kind == commands.MSET:
            return OK
        joined: list[object] = []
        for value in values:
            if not isinstance(value, list):
                return values[0]
            joined += value
        return joined


class Part(Reply):
    """One of them."""

    __slots__ = ("whole", "index")

    def __init__(self, whole: Gathering, index: int) -> None:
        self.whole = whole
        self.index = index

    def on_reply(self, value: object) -> None:
        self.whole.put(self.index, value)


class Splitter:
    """What all clients of one filter share in a worker."""

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings

    def submit(self, arguments: list[bytes], slot: Reply) -> None:
        """A command that is no transaction's and needs no connection of its own."""
        settings = self.settings
        name = arguments[0].lower()
        if name == b"ping":
            slot.on_reply(Simple(b"PONG"))
            return
        if name == b"echo":
            slot.on_reply(arguments[1] if len(arguments) == 2 else wrong_number(name))
            return
        if name == b"time":
            now = time()
            slot.on_reply([b"%d" % int(now), b"%d" % int(now % 1 * 1_000_000)])
            return
        kind = settings.kinds.get(name)
        stats = settings.command_stats.get(name)
        if kind is None or stats is None or kind == commands.TRANSACTION:
            settings.stats.unsupported.inc()
            slot.on_reply(unknown(arguments))
            return
        if len(arguments) < 2 and kind != commands.EVERYWHERE:
            settings.stats.invalid.inc()
            slot.on_reply(INVALID)
            return
        stats.total.inc()
        answer = Answer(slot, stats)
        if self._fault(name, answer, stats):
            return
        if kind == commands.SIMPLE:
            self._single(arguments[1], arguments, answer)
        elif kind == commands.EVAL:
            if len(arguments) < 4:
                stats.error.inc()
                slot.on_reply(wrong_number(name))
                return
            self._single(arguments[3], arguments, answer)
        elif kind == commands.OBJECT:
            self._single(arguments[2] if len(arguments) > 2 else arguments[1], arguments, answer)
        elif kind == commands.EVERYWHERE:
            self._everywhere(arguments, answer)
        elif kind == commands.MSET:
            self._pairs(arguments, answer, slot)
        else:
            self._keys(kind, arguments, answer)

    def _fault(self, name: bytes, answer: Answer, stats: CommandStats) -> bool:
        """Inject what is configured; True when the command has been answered with an error."""
        for fault in self.settings.faults:
            if fault.commands and name not in fault.commands:
                continue
            if fault.applies():
                if fault.delay_ms > 0:
                    answer.delay = _Delay(answer, self.settings.dispatcher, fault.delay_ms)
                if fault.error:
                    stats.error_fault.inc()
                    answer.on_reply(FAULT)
                    return True
                stats.delay_fault.inc()
                return False
        return False

    def _single(self, key: bytes, arguments: list[bytes], reply: Reply) -> None:
        """Send to the server of one key, and to the mirrors of its route."""
        settings = self.settings
        route = settings.routes.find(key)
        if route is None:
            reply.on_reply(NO_HOST)
            return
        if route.rewrites:
            new = route.rewrite(key)
            if new != key:
                arguments = [new if each is key else each for each in arguments]
                key = new
        pool = settings.pool(route.cluster_for(arguments[0].lower()))
        if pool is None or not pool.send(key, arguments, reply):
            reply.on_reply(NO_HOST)
            return
        for mirror in route.mirrors:
            self._mirror(mirror, key, arguments)

    def _mirror(self, mirror: Mirror, key: bytes, arguments: list[bytes]) -> None:
        if mirror.exclude_reads and arguments[0].lower() in commands.READS:
            return
        if mirror.applies():
            pool = self.settings.pool(mirror.cluster)
            if pool is not None:
                pool.send(key, arguments, Ignored())

    def _keys(self, kind: int, arguments: list[bytes], answer: Answer) -> None:
        whole = Gathering(answer, kind, len(arguments) - 1)
        name = b"get" if kind == commands.MGET else arguments[0]
        for index, key in enumerate(arguments[1:]):
            self._single(key, [name, key], Part(whole, index))

    def _pairs(self, arguments: list[bytes], answer: Answer, slot: Reply) -> None:
        if len(arguments) % 2 == 0:
            answer.stats.error.inc()
            slot.on_reply(wrong_number(arguments[0]))
            return
        whole = Gathering(answer, commands.MSET, len(arguments) // 2)
        for index in range(len(arguments) // 2):
            key = arguments[1 + 2 * index]
            self._single(key, [b"set", key, arguments[2 + 2 * index]], Part(whole, index))

    def _everywhere(self, arguments: list[bytes], answer: Answer) -> None:
        pools: list[RedisPool] = []
        for name in self.settings.routes.clusters(True):
            pool = self.settings.pool(name)
            if pool is not None:
                pools.append(pool)
        targets = [(pool, host) for pool in pools for host in pool.hosts()]
        if not targets:
            answer.on_reply(NO_HOST)
            return
        whole = Gathering(answer, commands.EVERYWHERE, len(targets))
        for index, (pool, host) in enumerate(targets):
            pool.client(host).send(arguments, Part(whole, index))

    def route(self, key: bytes) -> RedisRoute | None:
        return self.settings.routes.find(key)


def wrong_number(name: bytes) -> Failure:
    return Failure(b"wrong number of arguments for '" + name + b"' command")


def unknown(arguments: list[bytes]) -> Failure:
    """As Redis puts it; what the client sent may not break the line."""
    shown = b" ".join(arguments[1:])[:128].replace(b"\r", b" ").replace(b"\n", b" ")
    name = arguments[0][:128].replace(b"\r", b" ").replace(b"\n", b" ")
    return Failure(b"ERR unknown command '" + name + b"', with args beginning with: " + shown)
