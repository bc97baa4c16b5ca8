"""CDS: clusters that come and go while the server runs.

Source: Envoy documentation, "Cluster discovery service"; `CdsApiHelper`. Good resources of an update are applied even
when others are bad; the bad ones are named in the refusal.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from outrider.config.errors import ConfigError
from outrider.config.load import paused_collector
from outrider.config.subscription import (
    CONNECTION_FAILURE,
    Resource,
    Subscription,
    SubscriptionCallbacks,
    SubscriptionFactory,
)
from outrider.config.view import View
from outrider.server.clusters import CLUSTER, MainClusters
from outrider.server.pausing import paused
from outrider.stats.metrics import Counter, Gauge
from outrider.stats.store import Scope
from outrider.upstream.control.eds_discovery import CLUSTER_LOAD_ASSIGNMENT
from outrider.xds.api_types import LB_ENDPOINT, SECRET

_log: Final = logging.getLogger("outrider.upstream")

# What clusters ask for when they are made: one request for all of them.
_HELD_BACK: Final = (CLUSTER_LOAD_ASSIGNMENT, LB_ENDPOINT, SECRET)


class CdsApi(SubscriptionCallbacks):
    """The subscription to clusters."""

    def __init__(
        self,
        source: View | None,
        locator: str,
        subscriptions: SubscriptionFactory,
        clusters: MainClusters,
        scope: Scope,
    ) -> None:
        """`locator` is an `xdstp://` collection, or empty. Raises ConfigError: the source is wrong."""
        self.clusters = clusters
        self.subscriptions = subscriptions
        self.locator = locator
        # Version of the last update of which anything was applied.
        self.version_info: str = ""
        # Called once, when CDS has spoken or failed to.
        self.on_initialized: Callable[[], None] | None = None
        # Names of the clusters that came from here, in their order.
        self._given: dict[str, None] = {}
        self._reloads: Counter = scope.counter("config_reload")
        self._reload_time: Gauge = scope.gauge("config_reload_time_ms", accumulate=False)
        self._subscription: Subscription = subscriptions.subscribe(source, CLUSTER, self, scope)

    def start(self) -> None:
        self._subscription.start([self.locator] if self.locator else None)

    def on_state(self, resources: list[Resource], version: str) -> None:
        named = {resource.view.text("name") for resource in resources}
        # Only what this subscription gave: clusters that were discovered on demand are not its business.
        self._update(resources, [name for name in self._given if name not in named], version)

    def on_delta(self, added: list[Resource], removed: list[str], version: str) -> None:
        self._update(added, removed, version)

    def on_failed(self, reason: int, error: str) -> None:
        if reason != CONNECTION_FAILURE:
            self._initialized()

    def _update(self, added: list[Resource], removed: list[str], version: str) -> None:
        control = self.clusters.control
        _log.info("cds: add %d cluster(s), remove %d cluster(s)", len(added), len(removed))
        errors: list[str] = []
        applied = changed = skipped = 0
        seen: set[str] = set()
        # Nearly all that is made here stays: to look for garbage meanwhile would double the time.
        with paused_collector(), paused(self.subscriptions, _HELD_BACK):
            for resource in added:
                name = resource.view.text("name")
                try:
                    if name in seen:
                        raise ConfigError(f"duplicate cluster {name} found")
                    seen.add(name)
                    self._given[name] = None
                    if control.add_or_update(resource.view, resource.version or version):
                        changed += 1
                        applied = 1
                        _log.debug("cds: add/update cluster '%s'", name)
                    else:
                        skipped += 1
                        _log.debug("cds: add/update cluster '%s' skipped", name)
                except ConfigError as error:
                    errors.append(f"{name}: {error}")
            for name in removed:
                self._given.pop(name, None)
                if control.remove(name):
                    applied = 1
                    _log.debug("cds: remove cluster '%s'", name)
            _log.info("cds: added/updated %d cluster(s), skipped %d unmodified cluster(s)", changed, skipped)
            if applied:
                self.version_info = version
            if changed and not errors:
                self._reloads.inc()
                self._reload_time.set(int(time.time() * 1000))
            # While EDS is held back: it is asked for the new clusters' endpoints all at once.
            self._initialized()
        if errors:
            raise ConfigError(f"Error adding/updating cluster(s) {', '.join(errors)}")

    def _initialized(self) -> None:
        callback = self.on_initialized
        self.on_initialized = None
        if callback is not None:
            callback()
