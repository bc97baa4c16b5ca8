"""EDS: hosts from `ClusterLoadAssignment` resources, one for each cluster.

Source: Envoy documentation, "Endpoint discovery service"; `EdsClusterImpl`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.subscription import (
    CONNECTION_FAILURE,
    FETCH_TIMEOUT,
    Resource,
    Subscription,
    SubscriptionCallbacks,
    SubscriptionFactory,
)
from outrider.config.view import View
from outrider.upstream.config.endpoints import LoadAssignment, malformed_ip, read_load_assignment
from outrider.upstream.control.control_host import ControlHost
from outrider.upstream.control.discovery import Discovery, host_for, order_addresses
from outrider.upstream.host import PENDING_DYNAMIC_REMOVAL

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from outrider.upstream.control.cluster_control import ClusterControl

CLUSTER_LOAD_ASSIGNMENT: Final = "envoy.config.endpoint.v3.ClusterLoadAssignment"


_CACHE: Final = "eds_cache"


class EdsCache:
    """The last assignment of each name, as long as some cluster follows it over ADS."""

    def __init__(self) -> None:
        self._users: dict[str, int] = {}
        self._assignments: dict[str, bytes] = {}

    def enter(self, name: str) -> None:
        self._users[name] = self._users.get(name, 0) + 1

    def leave(self, name: str) -> None:
        users = self._users.pop(name, 1) - 1
        if users > 0:
            self._users[name] = users
        else:
            self._assignments.pop(name, None)

    def put(self, name: str, packed: bytes) -> None:
        self._assignments[name] = packed

    def get(self, name: str) -> bytes | None:
        return self._assignments.get(name)


class EdsDiscovery(Discovery, SubscriptionCallbacks):
    """The endpoints of one cluster. What there was stays when an update is bad or the source is gone."""

    def __init__(self, control: ClusterControl, source: View, subscriptions: SubscriptionFactory | None) -> None:
        """Raises ConfigError: the source is wrong."""
        self.control = control
        config = control.info.config
        self.name: str = config.eds_service_name or config.name
        self._stale: TimerHandle | None = None
        self._last_priority: int = 0
        # Only ADS is known not to repeat itself for a cluster that is replaced.
        self._cache: EdsCache | None = None
        if source.which("config_source_specifier") == "ads":
            cache = control.context.singletons.setdefault(_CACHE, EdsCache())
            assert isinstance(cache, EdsCache)
            self._cache = cache
        self._subscription: Subscription | None = None
        if subscriptions is not None:
            self._subscription = subscriptions.subscribe(source, CLUSTER_LOAD_ASSIGNMENT, self, control.info.scope)
        else:
            # A half without sources (a worker's, a test's): nothing is asked for.
            source.take()

    def start(self) -> None:
        if self._subscription is None:
            self.control.on_first_result()
            return
        if self._cache is not None:
            self._cache.enter(self.name)
        self._subscription.start([self.name])

    def stop(self) -> None:
        if self._stale is not None:
            self._stale.cancel()
            self._stale = None
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
            if self._cache is not None:
                self._cache.leave(self.name)

    # --- what the source says ---

    def on_state(self, resources: list[Resource], version: str) -> None:
        if not resources:
            self._missing()
            return
        if len(resources) != 1:
            raise ConfigError(f"Unexpected EDS resource length: {len(resources)}")
        resource = resources[0]
        view = resource.view
        name = view.text("cluster_name")
        if name != self.name and resource.name != self.name:
            raise ConfigError(f"Unexpected EDS cluster (expecting {self.name}): {name}")
        assignment = read_load_assignment(view)
        self._check(view, assignment)
        if self._cache is not None:
            self._cache.put(self.name, resource.packed)
        self._watch_age(assignment)
        self._apply(assignment)

    def on_delta(self, added: list[Resource], removed: list[str], version: str) -> None:
        if not added:
            # As in Envoy, the removal of an assignment alone changes nothing.
            self._missing()
            return
        self.on_state(added, version)

    def on_failed(self, reason: int, error: str) -> None:
        # A source that cannot be reached may come back: the initial fetch timeout ends the wait for it.
        if reason == CONNECTION_FAILURE:
            return
        packed = self._cache.get(self.name) if self._cache is not None and reason == FETCH_TIMEOUT else None
        if packed is not None and not self.control.resolved:
            # The server saw no need to say again what the cluster before this one has been told.
            self.control.info.stats.assignment_use_cached.inc()
            message = api.new(CLUSTER_LOAD_ASSIGNMENT)
            message.ParseFromString(packed)
            assignment = read_load_assignment(View(message))
            self._watch_age(assignment)
            self._apply(assignment)
        self.control.on_first_result()

    def _missing(self) -> None:
        self.control.info.stats.update_empty.inc()
        self.control.on_first_result()

    def _check(self, view: View, assignment: LoadAssignment) -> None:
        """Raises ConfigError(s) for what static endpoints would be refused for, too."""
        for endpoint in assignment.endpoints:
            for address in (endpoint.address, *endpoint.additional):
                if address.named_port or address.literal() is None:
                    raise endpoint.view.error(malformed_ip(address), "address")
        context = self.control.context
        local = context.cluster_manager.local_cluster_name
        if local == self.control.info.name and any(endpoint.priority for endpoint in assignment.endpoints):
            raise view.error(f"Unexpected non-zero priority for local cluster '{local}'.")
        if context.support is not None:
            context.support.check(view)

    def _watch_age(self, assignment: LoadAssignment) -> None:
        if self._stale is not None:
            self._stale.cancel()
            self._stale = None
        if assignment.stale_after_ms:
            self.control.info.stats.assignment_timeout_received.inc()
            delay = assignment.stale_after_ms / 1000
            self._stale = self.control.context.dispatcher.call_later(delay, self._on_stale)

    def _on_stale(self) -> None:
        self._stale = None
        self.control.info.stats.assignment_stale.inc()
        self._apply(LoadAssignment())

    def _apply(self, assignment: LoadAssignment) -> None:
        control = self.control
        before = _summary(control)
        hosts: dict[str, ControlHost] = {}
        for endpoint in assignment.endpoints:
            address = endpoint.address.literal()
            assert address is not None
            if address.text in hosts:
                # The first one counts, whatever its priority.
                continue
            # Envoy makes its hosts anew for each answer, and counts their transport socket matches.
            control.count_matches(endpoint, 1)
            host = host_for(control, address, endpoint)
            more = [literal for each in endpoint.additional if (literal := each.literal()) is not None]
            host.addresses = order_addresses([address, *more], control) if more else []
            hosts[host.key] = host
        # The endpoints live on as hosts; their configuration is let go.
        assignment.endpoints = []
        drops = (control.assignment.drop_overload, control.assignment.drop_category)
        control.assignment = assignment
        self._show_weight(hosts)
        returns = any(host.has_flag(PENDING_DYNAMIC_REMOVAL) for host in hosts.values())
        same = hosts.keys() == control.hosts.keys() and not returns
        if same and control.resolved and _summary(control) == before:
            control.info.stats.update_no_rebuild.inc()
            if drops != (assignment.drop_overload, assignment.drop_category):
                # Not a matter of hosts.
                control.publish_health([])
            control.on_first_result()
            return
        control.set_hosts(list(hosts.values()))

    def _show_weight(self, hosts: dict[str, ControlHost]) -> None:
        """As Envoy, which goes through all priorities it has ever seen and shows the largest weight of the last."""
        self._last_priority = max([self._last_priority, *[host.priority for host in hosts.values()]])
        weights = [host.weight for host in hosts.values() if host.priority == self._last_priority]
        self.control.info.stats.max_host_weight.set(max([1, *weights]))


def _summary(control: ClusterControl) -> tuple[Any, ...]:
    """Everything that the workers know of the hosts, to be compared."""
    snapshot = control.snapshot()
    snapshot.drop_overload, snapshot.drop_category = 0.0, ""
    return snapshot.plain()
