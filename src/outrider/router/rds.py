"""RDS: route tables by name, shared by the connection managers that ask for the same one from the same source.

Source: Envoy documentation, "Route discovery service (RDS)"; `RdsRouteConfigSubscription`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from outrider.config.discovered import DiscoveredResource, known_resources, pack, run_all, source_key, stamp
from outrider.config.subscription import Resource
from outrider.router.config.route_config import RouteConfig
from outrider.router.route_provider import DiscoveredRouteProvider, RouteHolder
from outrider.router.sliced_build import WORTH_IT, SlicedBuild
from outrider.router.vhds import VirtualHostDiscovery
from outrider.stats.metrics import Counter, Gauge

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

ROUTE_CONFIGURATION: Final = "envoy.config.route.v3.RouteConfiguration"


class RouteDiscovery(DiscoveredResource):
    """One route configuration of one source."""

    dump_kind = "routes"

    def __init__(self, context: FactoryContext, source: View, name: str, stat_prefix: str, key: str) -> None:
        # What lies in the tables outlives the connection manager that was the first to ask: nothing of its own.
        context = context.owned_by([])
        scope = context.root_scope.scope(f"{stat_prefix}rds.{name}")
        super().__init__(
            context, source, ROUTE_CONFIGURATION, name, scope, key, f"RdsRouteConfigSubscription RDS init {name}"
        )
        self.stat_prefix = stat_prefix
        self.holder = RouteHolder()
        self.config_reload: Counter = scope.counter("config_reload")
        self.config_reload_time_ms: Gauge = scope.gauge("config_reload_time_ms", accumulate=False)
        self.update_empty: Counter = scope.counter("update_empty")
        self._next: RouteConfig | None = None
        # What parts of the next table, and of that in force, want to be told at their end.
        self._next_close: list[Callable[[], None]] = []
        self._close: list[Callable[[], None]] = []
        self._next_hosts: VirtualHostDiscovery | None = None
        self._build: SlicedBuild | None = None
        self.hosts: VirtualHostDiscovery | None = None

    def wrong_count(self, count: int) -> str:
        return f"Unexpected RDS resource length: {count}" if count else ""

    def wrong_name(self, name: str) -> str:
        return f"Unexpected RDS configuration (expecting {self.name}): {name}"

    def on_empty(self) -> None:
        self.update_empty.inc()

    def on_state(self, resources: list[Resource], version: str) -> None:
        if self._build is not None:
            self._build.cancel()
            self._build = None
        if len(resources) == 1 and self._in_slices(resources[0]):
            # A worker serves by the old table until the new one is whole.
            finish = _Finish(self, resources[0], version)
            run_all(self._next_close)
            context = self.context.owned_by(self._next_close)
            self._build = SlicedBuild(resources[0].view, context, finish.run)
            self._build.start()
            return
        super().on_state(resources, version)

    def _in_slices(self, resource: Resource) -> bool:
        if self.context.is_main or self.holder.config is None or self.hosts is not None:
            return False
        return (
            resource.name == self.name
            and len(resource.packed) >= WORTH_IT
            and resource.packed != self.packed
            and not resource.view.has("vhds")
        )

    def built(self, resource: Resource, version: str, config: RouteConfig) -> None:
        """The table that was built in slices is whole."""
        self._build = None
        self._next = config
        self._next_hosts = None
        self.packed = resource.packed
        self.version = version
        self.updated = time.time()
        self.applied()
        self.be_ready()

    def accept(self, resource: Resource) -> None:
        view = resource.view
        source = _vhds_source(view)
        hosts = self.hosts
        if source is None:
            hosts = None
        elif hosts is None or hosts.key != source_key(self.name, source):
            hosts = VirtualHostDiscovery(self.context, source, self.name, self.stat_prefix, self)
        run_all(self._next_close)
        try:
            if hosts is None:
                self._next = RouteConfig.from_view(view, self.context.owned_by(self._next_close), False)
            else:
                self._next = hosts.build(view, resource.packed)
        except Exception:
            run_all(self._next_close)
            if hosts is not None and hosts is not self.hosts:
                hosts.close()
            raise
        self._next_hosts = hosts

    def applied(self) -> None:
        old = self.hosts
        self.hosts = self._next_hosts
        self._next_hosts = None
        if self.hosts is not None:
            self.hosts.commit()
        self.holder.on_demand_hosts = self.hosts.waiters if self.hosts is not None else None
        self.put_in_force(self._next)
        self._next = None
        before = self._close
        self._close, self._next_close = self._next_close, []
        run_all(before)
        if old is not None and old is not self.hosts:
            old.close()
        if self.hosts is not None:
            self.hosts.start()

    def put_in_force(self, config: RouteConfig | None) -> None:
        """From now on requests are routed by another table."""
        self.holder.replace(config)
        self.config_reload.inc()
        self.config_reload_time_ms.set(int(time.time() * 1000))
        self.tell()

    def be_ready(self) -> None:
        # A table that discovers its hosts is ready with their first answer.
        if self.hosts is None or self.hosts.answered:
            super().be_ready()

    def show(self, dump: Any, matches: Callable[[str], bool]) -> None:
        if self.packed is None or not matches(self.name):
            return
        entry = dump.dynamic_route_configs.add()
        entry.version_info = self.version
        packed = self.packed if self.hosts is None else self.hosts.whole(self.packed)
        pack(entry.route_config, ROUTE_CONFIGURATION, packed)
        stamp(entry.last_updated, self.updated)

    def on_released(self) -> None:
        if self._build is not None:
            self._build.cancel()
        run_all(self._next_close)
        run_all(self._close)
        if self.hosts is not None:
            self.hosts.close()


class _Finish:
    """What is to be done with a table that was built in slices."""

    def __init__(self, routes: RouteDiscovery, resource: Resource, version: str) -> None:
        self.routes = routes
        self.resource = resource
        self.version = version

    def run(self, config: RouteConfig) -> None:
        self.routes.built(self.resource, self.version, config)


def _vhds_source(view: View) -> View | None:
    vhds = view.message("vhds")
    return vhds.message("config_source") if vhds is not None else None


def find_routes(context: FactoryContext, source: View, name: str, stat_prefix: str) -> RouteDiscovery:
    """The route configuration of that name from that source, made if nobody uses it yet. Raises ConfigError."""
    key = source_key(name, source)
    found = known_resources(context, RouteDiscovery).get(key)
    if found is None:
        return RouteDiscovery(context, source, name, stat_prefix, key)
    # The first one has looked at it.
    source.take()
    return found


def discover_routes(view: View, context: FactoryContext) -> DiscoveredRouteProvider:
    """The provider of a connection manager's `rds`. Raises ConfigError."""
    source = view.message("config_source")
    assert source is not None
    routes = find_routes(context, source, view.text("route_config_name"), context.stat_prefix)
    routes.use(context)
    return DiscoveredRouteProvider(routes.holder)
