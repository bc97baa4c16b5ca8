"""envoy.network.dns_resolver.cares: name servers asked with c-ares, `/etc/hosts` honoured, on the dispatcher's loop.

Each query has a channel of its own. A channel reads its configuration when it is made, so changes of `/etc/resolv.conf`
are seen, and the answers that c-ares would keep for their whole TTL do not outlive the query: when to ask again is the
cluster's business.
"""

from __future__ import annotations

import socket
from asyncio import TimerHandle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import pycares

from outrider.network.dns.resolver import EMPTY, FAILURE, SUCCESS, DnsAnswer, DnsQuery, DnsResolver, DnsResolverConfig
from outrider.stats.store import Scope

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher

# Answers that say "there is none", rather than "it went wrong".
_NO_RECORDS: Final = (pycares.errno.ARES_ENODATA, pycares.errno.ARES_ENOTFOUND)
_POLL_S: Final = 1.0
# ARES_AI_NOSORT, which pycares does not name: addresses stay in the order of the answer, as in Envoy.
_NOSORT: Final = 1 << 7


class CaresStats:
    """`dns.cares.*`"""

    __slots__ = ("get_addr_failure", "not_found", "pending", "reinits", "resolve_total", "timeouts")

    def __init__(self, scope: Scope) -> None:
        self.get_addr_failure = scope.counter("dns.cares.get_addr_failure")
        self.not_found = scope.counter("dns.cares.not_found")
        self.pending = scope.gauge("dns.cares.pending_resolutions", False)
        self.reinits = scope.counter("dns.cares.reinits")
        self.resolve_total = scope.counter("dns.cares.resolve_total")
        self.timeouts = scope.counter("dns.cares.timeouts")


class _CaresQuery(DnsQuery):
    """One name, one channel, one family after the other."""

    __slots__ = ("resolver", "name", "families", "channel", "timer", "fds")

    def __init__(
        self, resolver: CaresResolver, name: str, families: list[int], callback: Callable[[DnsAnswer], None]
    ) -> None:
        super().__init__(callback)
        self.resolver = resolver
        self.name = name
        # Still to be asked, in order; the first with addresses ends it.
        self.families = families
        self.channel: pycares.Channel | None = None
        self.timer: TimerHandle | None = None
        self.fds: dict[int, tuple[bool, bool]] = {}

    def start(self) -> None:
        try:
            self.channel = self.resolver.make_channel(self._on_socket)
            self._ask()
        except (pycares.AresError, ValueError, UnicodeError) as error:
            self.finish(DnsAnswer(FAILURE, [], str(error)))

    def _ask(self) -> None:
        channel = self.channel
        if channel is None:
            return
        family = self.families.pop(0)
        self.resolver.stats.resolve_total.inc()
        channel.getaddrinfo(
            self.name, None, family=socket.AddressFamily(family), type=socket.SOCK_STREAM, flags=_NOSORT,
            callback=self._on_result,
        )
        self._arm()

    def _arm(self) -> None:
        channel = self.channel
        if channel is None:
            return
        if self.timer is not None:
            self.timer.cancel()
        wait = channel.timeout()  # type: ignore[no-untyped-call]  # pycares has no annotation here
        self.timer = self.resolver.dispatcher.call_later(wait if 0 < wait < _POLL_S else _POLL_S, self._on_timer)

    def _on_timer(self) -> None:
        self.timer = None
        if self.channel is not None:
            self.channel.process_fd(pycares.ARES_SOCKET_BAD, pycares.ARES_SOCKET_BAD)
            self._arm()

    def _on_socket(self, fd: int, readable: bool, writable: bool) -> None:
        """c-ares says what it waits for."""
        loop = self.resolver.dispatcher.loop
        was_readable, was_writable = self.fds.get(fd, (False, False))
        if readable and not was_readable:
            loop.add_reader(fd, self._on_readable, fd)
        elif was_readable and not readable:
            loop.remove_reader(fd)
        if writable and not was_writable:
            loop.add_writer(fd, self._on_writable, fd)
        elif was_writable and not writable:
            loop.remove_writer(fd)
        if readable or writable:
            self.fds[fd] = (readable, writable)
        else:
            self.fds.pop(fd, None)

    def _on_readable(self, fd: int) -> None:
        if self.channel is not None:
            self.channel.process_fd(fd, pycares.ARES_SOCKET_BAD)
            self._arm()

    def _on_writable(self, fd: int) -> None:
        if self.channel is not None:
            self.channel.process_fd(pycares.ARES_SOCKET_BAD, fd)
            self._arm()

    def _on_result(self, result: Any, error: int | None) -> None:
        # Not from within c-ares' own call: the channel is about to be closed.
        self.resolver.dispatcher.post(self._handle, result, error)

    def _handle(self, result: Any, error: int | None) -> None:
        if self.channel is None:
            return
        stats = self.resolver.stats
        addresses: list[tuple[str, int]] = []
        if error is None:
            for node in result.nodes:
                text = node.addr[0].decode()
                addresses.append((text, max(int(node.ttl), 0)))
        if addresses:
            self.finish(DnsAnswer(SUCCESS, addresses))
            return
        missing = error is None or error in _NO_RECORDS
        if missing:
            stats.not_found.inc()
        else:
            if error == pycares.errno.ARES_ETIMEOUT:
                stats.timeouts.inc()
            stats.get_addr_failure.inc()
        if self.families:
            self._ask()
        elif missing:
            self.finish(DnsAnswer(EMPTY, [], _text(error) if error else ""))
        else:
            # The channel is not used again; Envoy counts that it makes its own anew.
            stats.reinits.inc()
            self.finish(DnsAnswer(FAILURE, [], _text(error or 0)))

    def finish(self, answer: DnsAnswer) -> None:
        self._release()
        self.answer(answer)

    def _release(self) -> None:
        self.resolver.queries.discard(self)
        self.resolver.stats.pending.set(len(self.resolver.queries))
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        channel = self.channel
        self.channel = None
        loop = self.resolver.dispatcher.loop
        for fd, (readable, writable) in self.fds.items():
            if readable:
                loop.remove_reader(fd)
            if writable:
                loop.remove_writer(fd)
        self.fds.clear()
        if channel is not None:
            channel.close()

    def cancel(self) -> None:
        super().cancel()
        self._release()


class CaresResolver(DnsResolver):
    """See the module."""

    def __init__(self, dispatcher: Dispatcher, config: DnsResolverConfig, scope: Scope) -> None:
        self.dispatcher = dispatcher
        self.config = config
        self.stats = CaresStats(scope)
        self.queries: set[_CaresQuery] = set()

    def make_channel(self, on_socket: Callable[[int, bool, bool], None]) -> pycares.Channel:
        config = self.config
        flags = 0
        if config.use_tcp:
            flags |= pycares.ARES_FLAG_USEVC
        if config.no_search:
            flags |= pycares.ARES_FLAG_NOSEARCH
        servers: list[str] | None = None
        if config.servers and not (config.servers_as_fallback and _system_has_servers()):
            servers = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in config.servers]
        return pycares.Channel(
            flags=flags, timeout=config.timeout_s, tries=config.tries, rotate=config.rotate, servers=servers,
            sock_state_cb=on_socket,
        )

    def resolve(self, name: str, family: str, callback: Callable[[DnsAnswer], None]) -> DnsQuery:
        query = _CaresQuery(self, name, lookup_families(family, self.config.filter_unroutable), callback)
        self.queries.add(query)
        self.stats.pending.set(len(self.queries))
        self.dispatcher.post(query.start)
        return query

    def close(self) -> None:
        for query in list(self.queries):
            query.cancel()


def _text(error: int) -> str:
    text = pycares.errno.strerror(error)
    return text if isinstance(text, str) else text.decode()


def lookup_families(family: str, only_routable: bool = False) -> list[int]:
    """Address families to ask for, one after the other until one has addresses."""
    v4 = int(socket.AF_INET)
    v6 = int(socket.AF_INET6)
    if family == "V4_ONLY":
        families = [v4]
    elif family == "V6_ONLY":
        families = [v6]
    elif family == "V4_PREFERRED":
        families = [v4, v6]
    elif family == "ALL":
        families = [int(socket.AF_UNSPEC)]
    else:
        families = [v6, v4]
    if only_routable and len(families) > 1:
        families = [each for each in families if _routable(each)] or families
    return families


def _routable(family: int) -> bool:
    """Whether some interface has an address of the family (no packet is sent)."""
    target = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 53))
        except OSError:
            return False
    return True


def _system_has_servers() -> bool:
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as lines:
            return any(line.split()[:1] == ["nameserver"] for line in lines)
    except OSError:
        return False
