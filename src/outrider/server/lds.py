"""LDS: listeners that come and go while the server runs.

Source: Envoy documentation, "Listener discovery service"; `LdsApiImpl`. Good resources of an update are applied even
when others are bad; the bad ones are named in the refusal and shown in /config_dump.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from outrider.config.errors import ConfigError
from outrider.config.init_manager import InitTarget
from outrider.config.load import paused_collector
from outrider.config.subscription import (
    CONNECTION_FAILURE,
    Resource,
    Subscription,
    SubscriptionCallbacks,
    SubscriptionFactory,
)
from outrider.server.listener_entry import LISTENER
from outrider.server.pausing import paused

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.server.listener_manager import MainListeners
    from outrider.stats.store import Scope

_log: Final = logging.getLogger("outrider.upstream")

ROUTE_TYPES: Final = (
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.config.route.v3.ScopedRouteConfiguration",
    "envoy.extensions.transport_sockets.tls.v3.Secret",
    "envoy.config.listener.v3.FilterChain",
)


class ListenerFailure:
    """What was wrong with a listener of the last update."""

    __slots__ = ("details", "name", "packed", "time_s", "version_info")

    def __init__(self, name: str, details: str, packed: bytes, version_info: str) -> None:
        self.name = name
        self.details = details
        self.packed = packed
        self.version_info = version_info
        self.time_s = time.time()


class LdsApi(SubscriptionCallbacks):
    """The subscription to listeners."""

    def __init__(
        self,
        source: View | None,
        locator: str,
        subscriptions: SubscriptionFactory,
        listeners: MainListeners,
        scope: Scope,
    ) -> None:
        """`locator` is an `xdstp://` collection, or empty. Raises ConfigError: the source is wrong."""
        self.listeners = listeners
        self.subscriptions = subscriptions
        self.locator = locator
        self.version_info: str = ""
        self.failures: list[ListenerFailure] = []
        self.init_target = InitTarget("LDS", self.start)
        self._subscription: Subscription = subscriptions.subscribe(source, LISTENER, self, scope)

    def start(self) -> None:
        self._subscription.start([self.locator] if self.locator else None)

    def on_state(self, resources: list[Resource], version: str) -> None:
        named = {resource.view.text("name") for resource in resources}
        listeners = self.listeners
        gone = [name for each in (listeners.active, listeners.warming) for name in each if name not in named]
        self._update(resources, list(dict.fromkeys(gone)), version)

    def on_delta(self, added: list[Resource], removed: list[str], version: str) -> None:
        self._update(added, removed, version)

    def on_failed(self, reason: int, error: str) -> None:
        if reason != CONNECTION_FAILURE:
            # The server starts with a bad configuration of listeners, too.
            self.init_target.ready()

    def _update(self, added: list[Resource], removed: list[str], version: str) -> None:
        listeners = self.listeners
        applied = False
        failures: list[ListenerFailure] = []
        message = ""
        seen: set[str] = set()
        with paused_collector(), paused(self.subscriptions, ROUTE_TYPES):
            for name in removed:
                if listeners.remove(name):
                    _log.info("lds: remove listener '%s'", name)
                    applied = True
            for resource in added:
                name = resource.view.text("name")
                own_version = resource.version or version
                try:
                    if name in seen:
                        raise ConfigError(f"duplicate listener {name} found")
                    seen.add(name)
                    if listeners.add_or_update(resource.view, own_version):
                        _log.info("lds: add/update listener '%s'", name)
                        applied = True
                    else:
                        _log.debug("lds: add/update listener '%s' skipped", name)
                except ConfigError as error:
                    failures.append(ListenerFailure(name, str(error), resource.packed, own_version))
                    message += f"{name}: {error}\n"
            self.failures = failures
            if applied:
                self.version_info = version
            self.init_target.ready()
        if message:
            raise ConfigError(f"Error adding/updating listener(s) {message}")
