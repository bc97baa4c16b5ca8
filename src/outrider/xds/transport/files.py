"""Subscriptions served by a file that holds a DiscoveryResponse, read again when it is replaced.

Source: Envoy's `FilesystemSubscriptionImpl`; "xDS REST and gRPC protocol", "Filesystem subscriptions".
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.load import parse_source
from outrider.config.source import read_file
from outrider.config.subscription import UPDATE_REJECTED, Resource, Subscription, SubscriptionCallbacks
from outrider.event.file_watch import FileWatch, FileWatches
from outrider.xds.api_types import RESOURCE_WRAPPER, type_url
from outrider.xds.grpc_subscription import guarded_state
from outrider.xds.resource import ResourceDecoder
from outrider.xds.subscription_stats import SubscriptionStats

if TYPE_CHECKING:
    from outrider.config.load import LoadPolicy

_log: Final = logging.getLogger("outrider.config")
_RESPONSE: Final = "envoy.service.discovery.v3.DiscoveryResponse"
_WRAPPER_URL: Final = type_url(RESOURCE_WRAPPER)


class FileSubscription(Subscription):
    """`path`: the file. `folder`: the watched directory, "" = the file's own, looking at its name only."""

    def __init__(
        self,
        path: str,
        folder: str,
        poll_s: float,
        type_name: str,
        callbacks: SubscriptionCallbacks,
        stats: SubscriptionStats,
        policy: LoadPolicy,
        watches: FileWatches,
    ) -> None:
        """Raises OSError when there is nothing to watch."""
        self.path = path
        self.callbacks = callbacks
        self.stats = stats
        self.policy = policy
        self.decoder = ResourceDecoder(type_name, policy)
        self._closed = False
        self._started = False
        if folder:
            self._watch: FileWatch = watches.watch(folder, "", self._changed, poll_s)
        else:
            parent, name = os.path.split(path)
            self._watch = watches.watch(parent or ".", name, self._changed, poll_s)

    def start(self, names: Sequence[str] | None) -> None:
        self._started = True
        self.refresh()

    def update_interest(self, names: Sequence[str]) -> None:
        """Everything in the file is told, whatever the interest."""

    def request_on_demand(self, names: Sequence[str]) -> None:
        """A file has no more than it has."""

    def close(self) -> None:
        self._closed = True
        self._watch.close()

    def _changed(self) -> None:
        if self._started and not self._closed:
            self.refresh()

    def refresh(self) -> None:
        """Read the file and tell what is in it."""
        _log.debug("Filesystem config refresh for %s", self.path)
        self.stats.update_attempt.inc()
        message: Any = api.new(_RESPONSE)
        try:
            parse_source(read_file(self.path), message, self.policy)
        except ConfigError as error:
            _log.warning("Filesystem config update failure: in %s, %s", self.path, error)
            self.stats.update_failure.inc()
            self.callbacks.on_failed(UPDATE_REJECTED, str(error))
            return
        try:
            guarded_state(self.callbacks, resources_of(message, self.decoder), message.version_info)
        except ConfigError as error:
            _log.warning("Filesystem config update rejected: %s", error)
            self.stats.update_rejected.inc()
            self.callbacks.on_failed(UPDATE_REJECTED, str(error))
            return
        self.stats.update_success.inc()
        self.stats.applied(message.version_info)
        _log.debug("Filesystem config update accepted for %s: %s", self.path, message.version_info)


def resources_of(response: Any, decoder: ResourceDecoder) -> list[Resource]:
    """What a DiscoveryResponse holds. Raises ConfigError."""
    found = []
    for packed in response.resources:
        if packed.type_url not in (decoder.type_url, _WRAPPER_URL):
            raise ConfigError(f"holds a {packed.type_url} where a {decoder.type_url} is expected")
        entry = decoder.from_any(packed, response.version_info)
        if entry.resource is not None:
            found.append(entry.resource)
    return found
