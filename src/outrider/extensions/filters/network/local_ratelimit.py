"""envoy.filters.network.local_ratelimit: closes connections that come faster than a token bucket allows.

Source: Envoy documentation, "Local rate limit" (network filters). All workers share the bucket.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from outrider.data.token_bucket import TokenBucket
from outrider.extensions.filters.network.runtime_switch import RuntimeSwitch, runtime_switch
from outrider.network.filter import CLOSE_NO_FLUSH, CONTINUE, STOP, NetworkFilter
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.metrics import Counter

_MIN_INTERVAL_MS: Final = 50


class LocalRateLimit(NetworkFilter):
    """Asks the bucket once, when the connection begins."""

    def __init__(self, bucket: TokenBucket, enabled: RuntimeSwitch, rate_limited: Counter) -> None:
        self.bucket = bucket
        self.enabled = enabled
        self.rate_limited = rate_limited

    def on_new_connection(self) -> int:
        if not self.enabled.on() or self.bucket.take(1, monotonic_ns()):
            return CONTINUE
        self.rate_limited.inc()
        self.connection.close(CLOSE_NO_FLUSH, "local_ratelimit_close_over_limit")
        return STOP


class LocalRateLimitFactory(NetworkFilterFactory):
    def __init__(self, bucket: TokenBucket, enabled: RuntimeSwitch, rate_limited: Counter) -> None:
        self.bucket = bucket
        self.enabled = enabled
        self.rate_limited = rate_limited

    def create(self) -> NetworkFilter:
        return LocalRateLimit(self.bucket, self.enabled, self.rate_limited)


def make_bucket(config: View, context: FactoryContext) -> TokenBucket:
    """The filter's bucket; filters with the same `share_key` and bucket settings share one. Raises ConfigError."""
    view = config.message("token_bucket")
    if view is None:
        raise config.error("value is required", "token_bucket")
    interval = view.millis("fill_interval") or 0
    if interval < _MIN_INTERVAL_MS:
        raise view.error("local rate limit token bucket fill timer must be >= 50ms", "fill_interval")
    share_key = config.text("share_key")
    name = f"network.local_ratelimit/{config.path}"
    if share_key:
        name = f"network.local_ratelimit.shared/{share_key}/{view.message_bytes().hex()}"
        known = context.singletons.get(name)
        if isinstance(known, TokenBucket):
            # The settings are those of the first; they are read here so that they count as honoured.
            view.integer("max_tokens")
            view.integer("tokens_per_fill", 1)
            return known
    bucket = TokenBucket(
        view.integer("max_tokens"), view.integer("tokens_per_fill", 1), interval * 1_000_000, context.arena, name
    )
    if share_key:
        context.singletons[name] = bucket
    return bucket


@NETWORK_FILTERS.register(
    "envoy.filters.network.local_ratelimit", "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit"
)
def create(config: View, context: FactoryContext) -> NetworkFilterFactory:
    scope = context.root_scope.scope(f"local_rate_limit.{config.text('stat_prefix')}.")
    enabled = runtime_switch(config, "runtime_enabled", context.runtime)
    return LocalRateLimitFactory(make_bucket(config, context), enabled, scope.counter("rate_limited"))
