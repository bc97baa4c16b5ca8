"""envoy.filters.listener.local_ratelimit: closes connections that come faster than a token bucket allows.

Source: Envoy documentation, "Local rate limit" (listener filters). All workers share the bucket.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from outrider.data.token_bucket import TokenBucket
from outrider.extensions.filters.network.runtime_switch import RuntimeSwitch, runtime_switch
from outrider.network.filter import CONTINUE, STOP
from outrider.network.listener_filter import (
    LISTENER_FILTERS,
    ListenerFilter,
    ListenerFilterChain,
    ListenerFilterFactory,
)
from outrider.stats.metrics import Counter

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_MIN_INTERVAL_MS: Final = 50
_NANOS_PER_MS: Final = 1_000_000


class LocalRateLimit(ListenerFilter):
    """Asks the bucket once, before a byte is read."""

    __slots__ = ("bucket", "enabled", "rate_limited")

    def __init__(self, bucket: TokenBucket, enabled: RuntimeSwitch, rate_limited: Counter) -> None:
        self.bucket = bucket
        self.enabled = enabled
        self.rate_limited = rate_limited

    def on_accept(self, callbacks: ListenerFilterChain) -> int:
        if not self.enabled.on() or self.bucket.take(1, monotonic_ns()):
            return CONTINUE
        self.rate_limited.inc()
        callbacks.reject()
        return STOP


class LocalRateLimitFactory(ListenerFilterFactory):
    def __init__(self, bucket: TokenBucket, enabled: RuntimeSwitch, rate_limited: Counter) -> None:
        self.bucket = bucket
        self.enabled = enabled
        self.rate_limited = rate_limited

    def create(self) -> ListenerFilter:
        return LocalRateLimit(self.bucket, self.enabled, self.rate_limited)


@LISTENER_FILTERS.register(
    "envoy.filters.listener.local_ratelimit",
    "envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit",
)
def create(config: View, context: FactoryContext) -> ListenerFilterFactory:
    """Raises ConfigError."""
    view = config.message("token_bucket")
    if view is None:
        raise config.error("value is required", "token_bucket")
    interval = view.millis("fill_interval") or 0
    if interval < _MIN_INTERVAL_MS:
        raise view.error("local rate limit token bucket fill timer must be >= 50ms", "fill_interval")
    prefix = config.text("stat_prefix")
    bucket = TokenBucket(
        view.integer("max_tokens"),
        view.integer("tokens_per_fill", 1),
        interval * _NANOS_PER_MS,
        context.arena,
        f"listener.local_ratelimit/{config.path}",
    )
    counter = context.root_scope.counter(f"listener_local_ratelimit.{prefix}.rate_limited")
    return LocalRateLimitFactory(bucket, runtime_switch(config, "runtime_enabled", context.runtime), counter)
