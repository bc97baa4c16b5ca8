"""Subscriptions served by polling: a DiscoveryRequest as JSON is posted, the DiscoveryResponse comes back as JSON.

Source: Envoy's `HttpSubscriptionImpl` and `RestApiFetcher`; "xDS REST and gRPC protocol", "REST-JSON polling".
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.load import parse_source
from outrider.config.source import Source
from outrider.config.subscription import (
    CONNECTION_FAILURE,
    FETCH_TIMEOUT,
    UPDATE_REJECTED,
    Resource,
    Subscription,
    SubscriptionCallbacks,
)
from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.router.async_client import AsyncCall, AsyncCallbacks, AsyncClient
from outrider.xds.api_types import type_url
from outrider.xds.grpc_subscription import InitialFetch, guarded_state
from outrider.xds.mux import WatchUser
from outrider.xds.resource import ResourceDecoder
from outrider.xds.subscription_stats import SubscriptionStats
from outrider.xds.transport.files import resources_of

if TYPE_CHECKING:
    from outrider.config.load import LoadPolicy

_log: Final = logging.getLogger("outrider.config")
_LONGEST_ANSWER: Final = 256 << 20


class RestSettings:
    """Where and how often to ask."""

    __slots__ = ("cluster", "node", "path", "refresh_ms", "timeout_ms")

    def __init__(self, cluster: str, path: str, refresh_ms: int, timeout_ms: int, node: bytes) -> None:
        self.cluster = cluster
        self.path = path
        self.refresh_ms = refresh_ms
        self.timeout_ms = timeout_ms
        # Serialized.
        self.node = node


class RestSubscription(Subscription):
    """Asks again a while after each answer, `refresh_ms` to twice that."""

    def __init__(
        self,
        client: AsyncClient,
        settings: RestSettings,
        type_name: str,
        callbacks: SubscriptionCallbacks,
        stats: SubscriptionStats,
        initial_fetch: InitialFetch,
        policy: LoadPolicy,
    ) -> None:
        self.client = client
        self.settings = settings
        self.callbacks = callbacks
        self.stats = stats
        self.initial_fetch = initial_fetch
        self.policy = policy
        self.decoder = ResourceDecoder(type_name, policy)
        self.url = type_url(type_name)
        self._names: list[str] = []
        self._version = ""
        self._closed = False
        self._started = False
        self._call: AsyncCall | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, names: Sequence[str] | None) -> None:
        self._started = True
        self.initial_fetch.start(_FetchTimer(self))
        self._names = sorted(names or ())
        self._ask()

    def update_interest(self, names: Sequence[str]) -> None:
        self._names = sorted(names)
        if not self._started or self._closed:
            return
        if self._call is not None:
            self._call.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._ask()

    def request_on_demand(self, names: Sequence[str]) -> None:
        self.update_interest(sorted({*self._names, *names}))

    def close(self) -> None:
        self._closed = True
        self.initial_fetch.done()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _ask(self) -> None:
        self._timer = None
        if self._closed:
            return
        _log.debug("Sending REST request for %s", self.settings.path)
        self.stats.update_attempt.inc()
        request: Any = api.new("envoy.service.discovery.v3.DiscoveryRequest")
        request.node.ParseFromString(self.settings.node)
        request.type_url = self.url
        request.version_info = self._version
        request.resource_names.extend(self._names)
        text = json_format.MessageToJson(
            request, preserving_proto_field_name=True, indent=None, descriptor_pool=api.pool()
        )
        body = text.encode()
        settings = self.settings
        headers = RequestHeaderMap(
            method=b"POST", scheme=b"http", authority=settings.cluster.encode(), path=settings.path.encode()
        )
        headers.append(b"content-type", b"application/json")
        headers.append(b"content-length", b"%d" % len(body))
        outcome = _Outcome(self)
        self._call = AsyncCall(
            self.client, settings.cluster, headers, body, settings.timeout_ms, outcome, _LONGEST_ANSWER
        )
        self._call.start()
        if outcome.told:
            self._call = None

    # The outcome

    def answered(self, headers: ResponseHeaderMap, body: bytes) -> None:
        """A response; also one of our own router's making."""
        self._call = None
        if headers.status == 304:
            _log.debug("REST config for %s is unchanged", self.url)
        elif headers.status != 200:
            self.failed(CONNECTION_FAILURE, "")
        else:
            self._apply(body)
        self._ask_later()

    def broken(self) -> None:
        """No response."""
        self._call = None
        self.failed(CONNECTION_FAILURE, "")
        self._ask_later()

    def _ask_later(self) -> None:
        if not self._closed and self._timer is None and self._call is None:
            wait_ms = self.settings.refresh_ms + random.randrange(self.settings.refresh_ms)
            self._timer = self.client.dispatcher.call_later(wait_ms / 1000, self._ask)

    def _apply(self, body: bytes) -> None:
        self.initial_fetch.done()
        message: Any = api.new("envoy.service.discovery.v3.DiscoveryResponse")
        began = time.monotonic()
        try:
            parse_source(Source(self.settings.path, "json", body), message, self.policy)
            resources: list[Resource] = resources_of(message, self.decoder)
            guarded_state(self.callbacks, resources, message.version_info)
        except ConfigError as error:
            self.failed(UPDATE_REJECTED, str(error))
            return
        self._version = message.version_info
        self.stats.update_success.inc()
        self.stats.update_duration.record(int((time.monotonic() - began) * 1000))
        self.stats.applied(self._version)
        _log.debug("REST config for %s accepted with version %s", self.url, self._version)

    def failed(self, reason: int, error: str) -> None:
        """Count, log, tell."""
        if self._closed:
            return
        if reason == CONNECTION_FAILURE:
            _log.debug("REST update for %s failed", self.url)
            self.stats.update_failure.inc()
        elif reason == FETCH_TIMEOUT:
            _log.warning("REST config: initial fetch timeout for %s", self.url)
            self.stats.init_fetch_timeout.inc()
            self.initial_fetch.done()
        else:
            _log.warning("REST config for %s rejected: %s", self.url, error)
            self.stats.update_rejected.inc()
            self.initial_fetch.done()
        self.callbacks.on_failed(reason, error)


class _FetchTimer(WatchUser):
    __slots__ = ("subscription",)

    def __init__(self, subscription: RestSubscription) -> None:
        self.subscription = subscription

    def on_update_failed(self, reason: int, error: str) -> None:
        self.subscription.failed(reason, error)


class _Outcome(AsyncCallbacks):
    """Told once for one request."""

    __slots__ = ("subscription", "told")

    def __init__(self, subscription: RestSubscription) -> None:
        self.subscription = subscription
        self.told = False

    def on_response(self, headers: ResponseHeaderMap, body: bytes) -> None:
        self.told = True
        self.subscription.answered(headers, body)

    def on_failure(self, reason: str) -> None:
        self.told = True
        self.subscription.broken()
