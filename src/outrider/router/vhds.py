"""VHDS: virtual hosts of a route configuration that come one by one, also when the first request asks for them.

Source: Envoy documentation, "Virtual Host Discovery Service (VHDS)"; `VhdsSubscription`, `RouteConfigUpdateReceiver`.
Resources are named `<route configuration>/<host>`; their aliases are the hosts that were asked for.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from outrider.config import api
from outrider.config.discovered import run_all, source_key
from outrider.config.errors import ConfigError
from outrider.config.subscription import CONNECTION_FAILURE, Resource, Subscription, SubscriptionCallbacks
from outrider.config.view import View
from outrider.http.conn_manager_settings import RouteUpdateWaiter
from outrider.router.config.route_config import RouteConfig
from outrider.router.config.virtual_host import VirtualHost
from outrider.router.route_provider import OnDemandHosts

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext
    from outrider.router.rds import RouteDiscovery

VIRTUAL_HOST: Final = "envoy.config.route.v3.VirtualHost"
ROUTE_CONFIGURATION: Final = "envoy.config.route.v3.RouteConfiguration"
MAX_ASKED: Final = 10_000
"""Different hosts that a worker asks for on demand, one route configuration; then it asks for no more."""


class VirtualHostDiscovery(SubscriptionCallbacks):
    """The discovered virtual hosts of one route configuration."""

    def __init__(
        self, context: FactoryContext, source: View, name: str, stat_prefix: str, owner: RouteDiscovery
    ) -> None:
        """Raises ConfigError."""
        self.context = context.owned_by([])
        self.name = name
        self.owner = owner
        self.key = source_key(name, source)
        own = source.message("api_config_source")
        kind = own.enum("api_type") if own is not None else source.which("config_source_specifier")
        if kind not in ("ads", "DELTA_GRPC", "AGGREGATED_DELTA_GRPC"):
            raise ConfigError("vhds: only 'DELTA_GRPC' is supported as an api_type.")
        self.scope = context.root_scope.scope(f"{stat_prefix}rds.vhds.{name}")
        self.scope.counter("update_empty")
        self.config_reload = self.scope.counter("config_reload")
        self.config_reload_time_ms = self.scope.gauge("config_reload_time_ms", accumulate=False)
        # Serialized virtual hosts by the name of their resource, as they came; and what they have become.
        self.hosts: dict[str, bytes] = {}
        self._built: dict[str, VirtualHost] = {}
        self.answered = False
        self.waiters = HostWaiters(self)
        # The route configuration itself: its message without hosts, and its table with its own.
        self._frame: Any = None
        self._base: RouteConfig | None = None
        self._next: tuple[RouteConfig, Any, dict[str, VirtualHost]] | None = None
        self._started = False
        self.subscription: Subscription | None = None
        if context.subscriptions is not None:
            self.subscription = context.subscriptions.subscribe(source, VIRTUAL_HOST, self, self.scope)

    def build(self, view: View, packed: bytes) -> RouteConfig:
        """The table of a new route configuration, with the hosts that are known. Raises ConfigError."""
        # The source has been read by the subscription.
        view.accept("vhds")
        base = RouteConfig.from_view(view, self.context, False)
        frame: Any = api.new(ROUTE_CONFIGURATION)
        frame.ParseFromString(packed)
        frame.ClearField("virtual_hosts")
        # What the hosts inherit may have changed.
        built = self._load(frame, self.hosts)
        config = self._assemble(base, built)
        self._next = (base, frame, built)
        return config

    def commit(self) -> None:
        """What `build` has built last is in force."""
        if self._next is not None:
            self._base, self._frame, self._built = self._next
            self._next = None

    def start(self) -> None:
        """Begin to ask, once."""
        if self._started or self.subscription is None:
            return
        self._started = True
        self.subscription.start([self.name])

    def request(self, host: str) -> None:
        """Ask for one more host."""
        if self.subscription is not None:
            self.subscription.request_on_demand([f"{self.name}/{host}"])

    def on_state(self, resources: list[Resource], version: str) -> None:
        present = {each.name for each in resources}
        self.on_delta(resources, [name for name in self.hosts if name not in present], version)

    def on_delta(self, added: list[Resource], removed: list[str], version: str) -> None:
        hosts = dict(self.hosts)
        for name in removed:
            hosts.pop(name, None)
        for resource in added:
            # One without content says that there is no such host.
            if resource.packed:
                hosts[resource.name] = resource.packed
        if hosts != self.hosts and self._base is not None:
            changed = {name: packed for name, packed in hosts.items() if self.hosts.get(name) != packed}
            fresh = self._load(self._frame, changed)
            built = {name: fresh[name] if name in fresh else self._built[name] for name in hosts}
            config = self._assemble(self._base, built)
            self.hosts, self._built = hosts, built
            self.owner.put_in_force(config)
        self.config_reload.inc()
        self.config_reload_time_ms.set(int(time.time() * 1000))
        self._answered()
        for resource in added:
            self.waiters.tell([resource.name, *resource.aliases], self.name, bool(resource.packed))
        self.waiters.tell(removed, self.name, False)

    def on_failed(self, reason: int, error: str) -> None:
        if reason != CONNECTION_FAILURE:
            self._answered()

    def close(self) -> None:
        if self.subscription is not None:
            self.subscription.close()
        run_all(self.context.on_close)
        self.scope.close()
        self.waiters.give_up()

    def _answered(self) -> None:
        self.answered = True
        self.owner.be_ready()

    def whole(self, packed: bytes) -> bytes:
        """The route configuration with the hosts that were discovered, serialized."""
        merged: bytes = _merge(packed, self.hosts).SerializeToString(deterministic=True)
        return merged

    def _load(self, frame: Any, hosts: dict[str, bytes]) -> dict[str, VirtualHost]:
        """Build hosts within their route configuration. Raises ConfigError."""
        names = sorted(hosts)
        if not names:
            return {}
        message: Any = api.new(ROUTE_CONFIGURATION)
        message.CopyFrom(frame)
        for name in names:
            message.virtual_hosts.add().ParseFromString(hosts[name])
        view = View(message)
        view.accept("vhds")
        config = RouteConfig.from_view(view, self.context, False)
        if self.context.support is not None:
            self.context.support.check(view)
        return dict(zip(names, config.virtual_hosts, strict=True))

    @staticmethod
    def _assemble(base: RouteConfig, built: dict[str, VirtualHost]) -> RouteConfig:
        try:
            return base.with_hosts([*base.virtual_hosts, *(built[name] for name in sorted(built))])
        except ValueError as error:
            raise ConfigError(str(error)) from None


def _merge(packed: bytes, hosts: dict[str, bytes]) -> Any:
    merged: Any = api.new(ROUTE_CONFIGURATION)
    merged.ParseFromString(packed)
    for name in sorted(hosts):
        merged.virtual_hosts.add().ParseFromString(hosts[name])
    return merged


class HostWaiters(OnDemandHosts):
    """Requests that wait for a host."""

    def __init__(self, discovery: VirtualHostDiscovery) -> None:
        self.discovery = discovery
        self.waiting: dict[str, list[RouteUpdateWaiter]] = {}
        # Names that clients have made up: what is asked for is kept, here and at the server.
        self._asked: set[str] = set()
        self.limit = MAX_ASKED

    def request(self, host: str, waiter: RouteUpdateWaiter) -> None:
        waiters = self.waiting.get(host)
        if waiters is not None:
            waiters.append(waiter)
            return
        if host not in self._asked:
            if len(self._asked) >= self.limit:
                waiter.on_route_update(False)
                return
            self._asked.add(host)
        self.waiting[host] = [waiter]
        self.discovery.request(host)

    def forget(self, waiter: RouteUpdateWaiter) -> None:
        for host, waiters in list(self.waiting.items()):
            if waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self.waiting[host]

    def tell(self, names: list[str], config_name: str, found: bool) -> None:
        """These resources, or aliases of one, have been answered."""
        for name in names:
            for waiter in self.waiting.pop(name.removeprefix(f"{config_name}/"), []):
                waiter.on_route_update(found)

    def give_up(self) -> None:
        """The discovery has ended."""
        waiting = self.waiting
        self.waiting = {}
        for waiters in waiting.values():
            for waiter in waiters:
                waiter.on_route_update(False)
