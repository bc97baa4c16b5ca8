"""RTDS: runtime layers that a config source delivers. Main subscribes; workers get the outcome of all layers.

Source: Envoy documentation, "Runtime discovery service (RTDS)"; `RtdsSubscription`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from outrider.config.errors import ConfigError
from outrider.config.init_manager import InitManager, InitTarget
from outrider.config.runtime_layers import DiscoveredLayer, PlainValue, RuntimeLoader, flatten
from outrider.config.subscription import (
    CONNECTION_FAILURE,
    Resource,
    Subscription,
    SubscriptionCallbacks,
    SubscriptionFactory,
)

if TYPE_CHECKING:
    from outrider.stats.store import Scope

RUNTIME: Final = "envoy.service.runtime.v3.Runtime"


class RuntimeDiscovery(SubscriptionCallbacks):
    """One layer and its source."""

    def __init__(
        self, loader: RuntimeLoader, layer: DiscoveredLayer, subscriptions: SubscriptionFactory, scope: Scope
    ) -> None:
        """Raises ConfigError."""
        self.loader = loader
        self.layer = layer
        self.target = InitTarget(f"RTDS {layer.resource_name}", self._start)
        self._packed: bytes | None = None
        self.subscription: Subscription = subscriptions.subscribe(layer.source, RUNTIME, self, scope)

    def _start(self) -> None:
        self.subscription.start([self.layer.resource_name])

    def on_state(self, resources: list[Resource], version: str) -> None:
        self._check_count(len(resources), 0)
        resource = resources[0]
        if resource.name != self.layer.resource_name:
            raise ConfigError(f"Unexpected RTDS runtime (expecting {self.layer.resource_name}): {resource.name}")
        resource.view.text("name")
        values: dict[str, PlainValue] = {}
        try:
            flatten("", resource.view.struct("layer") or {}, values)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if resource.packed != self._packed:
            self._packed = resource.packed
            self._apply(values)
        self.target.ready()

    def on_delta(self, added: list[Resource], removed: list[str], version: str) -> None:
        self._check_count(len(added), len(removed))
        if added:
            self.on_state(added, version)
            return
        if removed[0] != self.layer.resource_name:
            raise ConfigError(
                f"Unexpected removal of unknown RTDS runtime layer {removed[0]}, expected {self.layer.resource_name}"
            )
        self._packed = None
        self._apply({})
        self.target.ready()

    def on_failed(self, reason: int, error: str) -> None:
        if reason != CONNECTION_FAILURE:
            self.target.ready()

    def _check_count(self, added: int, removed: int) -> None:
        if added + removed != 1:
            raise ConfigError(
                f"Unexpected RTDS resource length, number of added resources {added}, number of removed resources "
                f"{removed}"
            )

    def _apply(self, values: dict[str, PlainValue]) -> None:
        self.layer.values = values
        self.loader.apply()


class RuntimeDiscoveries:
    """All discovered layers of a server."""

    def __init__(self, loader: RuntimeLoader, subscriptions: SubscriptionFactory, scope: Scope) -> None:
        """Subscribe, without asking yet. Raises ConfigError. `scope` is the server's: stats are `runtime.update_*`."""
        self.init_manager = InitManager("RTDS")
        self.discoveries = [
            RuntimeDiscovery(loader, layer, subscriptions, scope.scope("runtime")) for layer in loader.discovered()
        ]
        for discovery in self.discoveries:
            self.init_manager.add(discovery.target)

    def start(self, on_done: Callable[[], None]) -> None:
        """Ask. `on_done` is called when every layer has come or will not come soon; at once when there is none."""
        self.init_manager.initialize(on_done)

    def close(self) -> None:
        for discovery in self.discoveries:
            discovery.subscription.close()


def check_sources(loader: RuntimeLoader) -> None:
    """Validation asks nobody: the sources count as read."""
    for layer in loader.discovered():
        if layer.source is not None:
            layer.source.take()
