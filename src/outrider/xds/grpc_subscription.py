"""A subscription served by a mux: its stats, its initial fetch timeout, its log lines.

Source: Envoy's `GrpcSubscriptionImpl`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from outrider.config.errors import ConfigError
from outrider.config.subscription import (
    CONNECTION_FAILURE,
    FETCH_TIMEOUT,
    Resource,
    Subscription,
    SubscriptionCallbacks,
)
from outrider.xds import api_types
from outrider.xds.mux import Mux, Watch, WatchUser
from outrider.xds.subscription_stats import SubscriptionStats

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher

_log: Final = logging.getLogger("outrider.config")


class InitialFetch:
    """`initial_fetch_timeout`: the time until the first answer, after which nobody waits any longer."""

    __slots__ = ("_dispatcher", "_handle", "timeout_s")

    def __init__(self, dispatcher: Dispatcher, timeout_s: float) -> None:
        """`timeout_s` 0: no limit."""
        self._dispatcher = dispatcher
        self.timeout_s = timeout_s
        self._handle: asyncio.TimerHandle | None = None

    def start(self, user: WatchUser) -> None:
        if self.timeout_s > 0:
            self._handle = self._dispatcher.call_later(self.timeout_s, user.on_update_failed, FETCH_TIMEOUT, "")

    def done(self) -> None:
        """An answer has come, or nobody is interested any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class MuxSubscription(Subscription):
    """Interest in one type over a mux. `owns_mux`: the mux is this subscription's alone (not ADS)."""

    def __init__(
        self,
        mux: Mux,
        type_name: str,
        callbacks: SubscriptionCallbacks,
        stats: SubscriptionStats,
        initial_fetch: InitialFetch,
        owns_mux: bool,
    ) -> None:
        self.mux = mux
        self.type_name = type_name
        self.callbacks = callbacks
        self.stats = stats
        self.initial_fetch = initial_fetch
        self.owns_mux = owns_mux
        self._watch: Watch | None = None
        self._user = _User(self)

    def start(self, names: Sequence[str] | None) -> None:
        self.initial_fetch.start(self._user)
        self._watch = self.mux.add_watch(self.type_name, names or (), self._user)
        self.stats.update_attempt.inc()
        if self.owns_mux:
            self.mux.start()

    def update_interest(self, names: Sequence[str]) -> None:
        if self._watch is not None:
            self.mux.update_watch(self._watch, names)
            self.stats.update_attempt.inc()

    def request_on_demand(self, names: Sequence[str]) -> None:
        self.mux.request_on_demand(self.type_name, names)
        self.stats.update_attempt.inc()

    def close(self) -> None:
        self._user.closed = True
        self.initial_fetch.done()
        if self._watch is not None:
            if self.owns_mux:
                self.mux.close()
            self.mux.remove_watch(self._watch)
            self._watch = None
        elif self.owns_mux:
            self.mux.close()


class _User(WatchUser):
    """Passes on what comes, and counts."""

    __slots__ = ("closed", "subscription")

    def __init__(self, subscription: MuxSubscription) -> None:
        self.subscription = subscription
        self.closed = False

    def on_state(self, resources: list[Resource], version: str) -> None:
        if self.closed:
            return
        subscription = self.subscription
        subscription.initial_fetch.done()
        began = time.monotonic()
        guarded_state(subscription.callbacks, resources, version)
        subscription.stats.update_attempt.inc()
        subscription.stats.accepted(version, (time.monotonic() - began) * 1000)
        _log.debug(
            "gRPC config for %s accepted with %d resources with version %s",
            api_types.type_url(subscription.type_name),
            len(resources),
            version,
        )

    def on_delta(self, added: list[Resource], removed: list[str], version: str) -> None:
        if self.closed:
            return
        subscription = self.subscription
        subscription.initial_fetch.done()
        # Before it is known whether it will be refused, which counts once more: Envoy's habit.
        subscription.stats.update_attempt.inc()
        began = time.monotonic()
        try:
            subscription.callbacks.on_delta(added, removed, version)
        except ConfigError:
            raise
        except Exception as error:
            raise _own_fault(error) from error
        subscription.stats.accepted(version, (time.monotonic() - began) * 1000)

    def on_update_failed(self, reason: int, error: str) -> None:
        if self.closed:
            return
        subscription = self.subscription
        stats = subscription.stats
        url = api_types.type_url(subscription.type_name)
        if reason == CONNECTION_FAILURE:
            stats.update_failure.inc()
            _log.debug("gRPC update for %s failed", url)
        elif reason == FETCH_TIMEOUT:
            stats.init_fetch_timeout.inc()
            subscription.initial_fetch.done()
            _log.warning("gRPC config: initial fetch timed out for %s", url)
        else:
            subscription.initial_fetch.done()
            stats.update_rejected.inc()
            _log.warning("gRPC config for %s rejected: %s", url, error)
        stats.update_attempt.inc()
        subscription.callbacks.on_failed(reason, error)


def guarded_state(callbacks: SubscriptionCallbacks, resources: list[Resource], version: str) -> None:
    """`on_state`; a fault of the program refuses the update, too, for the stream must go on. Raises ConfigError."""
    try:
        callbacks.on_state(resources, version)
    except ConfigError:
        raise
    except Exception as error:
        raise _own_fault(error) from error


def _own_fault(error: Exception) -> ConfigError:
    _log.exception("an update could not be applied")
    return ConfigError(f"internal error: {type(error).__name__}: {error}")
