"""envoy.filters.network.sni_dynamic_forward_proxy: resolves the server name of a TLS connection before it is proxied.

Source: Envoy documentation, "SNI dynamic forward proxy".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.filter_state import FilterStateObject, StringState
from outrider.extensions.clusters.dynamic_forward_proxy import HOST_KEY, PORT_KEY
from outrider.extensions.dns_cache.cache import IN_CACHE, OVERFLOW, CacheWaiter, DnsCache, DnsEntry
from outrider.extensions.dns_cache.config import read_cache
from outrider.network.filter import CLOSE_NO_FLUSH, CONTINUE, STOP, NetworkFilter
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.stream_info import ConnectionInfo
    from outrider.factory_context import FactoryContext

DEFAULT_PORT: Final = 443
UPSTREAM_ADDRESS_KEY: Final = "envoy.stream.upstream_address"


def _state(info: ConnectionInfo, key: str) -> str:
    value = None if info.filter_state is None else info.filter_state.get(key)
    return (value.serialize() or "") if isinstance(value, FilterStateObject) else ""


class SniSettings:
    """What the filter was configured to do."""

    __slots__ = ("cache", "port", "save_address")

    def __init__(self, cache: DnsCache, port: int, save_address: bool) -> None:
        self.cache = cache
        self.port = port
        self.save_address = save_address


class SniDynamicForwardProxy(NetworkFilter):
    """One connection."""

    def __init__(self, settings: SniSettings) -> None:
        self.settings = settings
        self._wait: _Wait | None = None

    def on_new_connection(self) -> int:
        info = self.connection.info
        name = _state(info, HOST_KEY) or info.requested_server_name
        if not name:
            return CONTINUE
        cache = self.settings.cache
        if not cache.begin_request():
            self.connection.close(CLOSE_NO_FLUSH)
            return STOP
        port = self.settings.port
        text = _state(info, PORT_KEY)
        if text.isascii() and text.isdigit() and 0 < int(text) <= 65535:
            port = int(text)
        if info.filter_state is None:
            info.filter_state = {}
        # The cluster looks the name up with this port.
        info.filter_state[PORT_KEY] = StringState(str(port))
        wait = _Wait(self)
        status, entry = cache.load(name, port, wait)
        if status == IN_CACHE:
            cache.end_request()
            assert entry is not None
            self._save(entry)
            return CONTINUE
        if status == OVERFLOW:
            cache.end_request()
            self.connection.close(CLOSE_NO_FLUSH)
            return STOP
        self._wait = wait
        return STOP

    def _save(self, entry: DnsEntry) -> None:
        state = self.connection.info.filter_state
        if self.settings.save_address and entry.addresses and state is not None:
            state[UPSTREAM_ADDRESS_KEY] = StringState(entry.addresses[0].text)

    def on_data(self, data: bytes, end_stream: bool) -> int:
        return CONTINUE

    def on_resolved(self, entry: DnsEntry) -> None:
        """Go on whatever came: without an address the cluster has no host."""
        self._wait = None
        self.settings.cache.end_request()
        self._save(entry)
        self.continue_reading()

    def on_destroy(self) -> None:
        wait = self._wait
        if wait is not None:
            self._wait = None
            wait.owner = None
            self.settings.cache.end_request()


class _Wait(CacheWaiter):
    """The filter's place among those who wait for a name."""

    __slots__ = ("owner",)

    def __init__(self, owner: SniDynamicForwardProxy) -> None:
        self.owner: SniDynamicForwardProxy | None = owner

    def on_resolved(self, entry: DnsEntry) -> None:
        owner = self.owner
        if owner is not None:
            self.owner = None
            owner.on_resolved(entry)


class SniDynamicForwardProxyFactory(NetworkFilterFactory):
    """Makes the filter of each connection."""

    def __init__(self, settings: SniSettings) -> None:
        self.settings = settings

    def create(self) -> NetworkFilter:
        return SniDynamicForwardProxy(self.settings)


@NETWORK_FILTERS.register(
    "envoy.filters.network.sni_dynamic_forward_proxy",
    "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig",
)
def create(config: View, context: FactoryContext) -> NetworkFilterFactory:
    """Raises ConfigError."""
    cache_view = config.message("dns_cache_config")
    if cache_view is None:
        raise config.error("dns_cache_config is required", "dns_cache_config")
    port = config.integer("port_value") or DEFAULT_PORT
    return SniDynamicForwardProxyFactory(
        SniSettings(read_cache(cache_view, context), port, config.flag("save_upstream_address"))
    )
