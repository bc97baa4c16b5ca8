"""envoy.filters.udp.session.dynamic_forward_proxy: resolves the name in filter state before a session goes on.

Source: Envoy documentation, "UDP session filters: dynamic forward proxy".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.extensions.clusters.dynamic_forward_proxy import HOST_KEY, state_port, state_text
from outrider.extensions.dns_cache.cache import IN_CACHE, LOADING, CacheWaiter, DnsCache, DnsEntry
from outrider.extensions.dns_cache.config import read_cache
from outrider.extensions.filters.udp.session_filter import (
    CONTINUE,
    STOP,
    UDP_SESSION_FILTERS,
    UdpSessionFilter,
    UdpSessionFilterFactory,
)
from outrider.stats.metrics import Counter

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


class ForwardSettings:
    """What the filter was configured to do. With no buffer, what comes while a name is resolved is dropped."""

    __slots__ = ("cache", "max_datagrams", "max_bytes", "overflow")

    def __init__(self, cache: DnsCache, max_datagrams: int, max_bytes: int, overflow: Counter) -> None:
        self.cache = cache
        self.max_datagrams = max_datagrams
        self.max_bytes = max_bytes
        self.overflow = overflow


class DynamicForwardProxyFilter(UdpSessionFilter):
    """One session."""

    def __init__(self, settings: ForwardSettings) -> None:
        self.settings = settings
        self._wait: _Wait | None = None
        self._kept: list[bytes] = []
        self._size: int = 0

    def on_new_session(self) -> int:
        info = self.session.info
        host = state_text(info, HOST_KEY)
        port = state_port(info, 0)
        cache = self.settings.cache
        if not host or not port:
            return CONTINUE
        if not cache.begin_request():
            self.settings.overflow.inc()
            return STOP
        wait = _Wait(self)
        status, _ = cache.load(host, port, wait)
        if status == LOADING:
            self._wait = wait
            return STOP
        cache.end_request()
        return CONTINUE if status == IN_CACHE else STOP

    def on_data(self, data: bytes) -> int:
        if self._wait is None:
            return CONTINUE
        settings = self.settings
        if len(self._kept) >= settings.max_datagrams or self._size + len(data) > settings.max_bytes:
            if settings.max_datagrams:
                settings.overflow.inc()
            return STOP
        self._kept.append(data)
        self._size += len(data)
        return STOP

    def on_resolved(self) -> None:
        self._wait = None
        self.settings.cache.end_request()
        if not self.session.continue_filter_chain(self):
            return
        kept = self._kept
        self._kept = []
        self._size = 0
        for data in kept:
            self.session.inject_to_upstream(self, data)

    def on_session_complete(self) -> None:
        wait = self._wait
        if wait is not None:
            self._wait = None
            wait.owner = None
            self.settings.cache.end_request()


class _Wait(CacheWaiter):
    """The filter's place among those who wait for a name."""

    __slots__ = ("owner",)

    def __init__(self, owner: DynamicForwardProxyFilter) -> None:
        self.owner: DynamicForwardProxyFilter | None = owner

    def on_resolved(self, entry: DnsEntry) -> None:
        owner = self.owner
        if owner is not None:
            self.owner = None
            owner.on_resolved()


class DynamicForwardProxyFactory(UdpSessionFilterFactory):
    def __init__(self, settings: ForwardSettings) -> None:
        self.settings = settings

    def create(self) -> UdpSessionFilter:
        return DynamicForwardProxyFilter(self.settings)


@UDP_SESSION_FILTERS.register(
    "envoy.filters.udp.session.dynamic_forward_proxy",
    "envoy.extensions.filters.udp.udp_proxy.session.dynamic_forward_proxy.v3.FilterConfig",
)
def create(config: View, context: FactoryContext) -> UdpSessionFilterFactory:
    """Raises ConfigError."""
    cache_view = config.message("dns_cache_config")
    if cache_view is None:
        raise config.error("dns_cache_config is required", "dns_cache_config")
    cache = read_cache(cache_view, context)
    options = config.message("buffer_options")
    datagrams = 0 if options is None else options.integer("max_buffered_datagrams", 1024)
    size = 0 if options is None else options.integer("max_buffered_bytes", 16_384)
    prefix = f"udp.session.dynamic_forward_proxy.{config.text('stat_prefix')}."
    overflow = context.root_scope.counter(f"{prefix}buffer_overflow")
    return DynamicForwardProxyFactory(ForwardSettings(cache, datagrams, size, overflow))
