"""Keys fetched from a cluster, kept for a while, and shared by the requests of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import USER_AGENT
from outrider.event.timer import Timer, TimerOwner
from outrider.extensions.filters.http.jwt_authn.token import Key, TokenError, parse_keys
from outrider.router.async_client import AsyncCall, AsyncCallbacks, AsyncClient, AsyncRetry, load_retry

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.extensions.filters.http.jwt_authn.stats import JwtStats
    from outrider.factory_context import FactoryContext

_DEFAULT_DURATION_S: Final = 600.0
_DEFAULT_REFETCH_MS: Final = 1000
_RETRY_ON: Final = "5xx,gateway-error,connect-failure,reset"


class KeysWaiter:
    """A request that waits for keys."""

    def on_keys(self, success: bool) -> None:
        raise NotImplementedError


class _Fetch(AsyncCallbacks):
    def __init__(self, owner: RemoteKeys) -> None:
        self.owner = owner

    def on_response(self, headers: ResponseHeaderMap, body: bytes) -> None:
        self.owner.fetched(body if headers.status == 200 else None)

    def on_failure(self, reason: str) -> None:
        self.owner.fetched(None)


class RemoteKeys(TimerOwner):
    """A RemoteJwks. One fetch at a time, whoever waits for it."""

    def __init__(self, view: View, context: FactoryContext, stats: JwtStats) -> None:
        """Raises ConfigError."""
        uri_view = view.message("http_uri")
        if uri_view is None:
            raise view.error("value is required", "http_uri")
        parts = urlsplit(uri_view.text("uri"))
        self.host: bytes = parts.netloc.encode()
        self.path: bytes = ((parts.path or "/") + ("?" + parts.query if parts.query else "")).encode()
        self.scheme: bytes = (parts.scheme or "http").encode()
        self.cluster = uri_view.text("cluster")
        self.timeout_ms = uri_view.millis("timeout") or 0
        seconds = view.seconds("cache_duration")
        self.duration_ns = int((_DEFAULT_DURATION_S if seconds is None else seconds) * 1e9)
        retry = view.message("retry_policy")
        self.retry: AsyncRetry | None = None if retry is None else load_retry(retry, _RETRY_ON)
        self.context = context
        self.client = AsyncClient(context)
        self.stats = stats
        self.keys: list[Key] | None = None
        self.expires_ns: int = 0
        self.waiting: list[KeysWaiter] = []
        self.call: AsyncCall | None = None
        self.timer: Timer | None = None
        ahead = view.message("async_fetch")
        # Milliseconds after which a background fetch that failed is repeated; -1 = keys are fetched on demand.
        self.refetch_ms = -1
        if ahead is not None:
            # Listeners are never held up here, so there is nothing to make fast.
            ahead.flag("fast_listener")
            given = ahead.millis("failed_refetch_duration")
            self.refetch_ms = _DEFAULT_REFETCH_MS if given is None else given
            if not context.is_main:
                self._arm(0)

    def current(self) -> list[Key] | None:
        """The keys, None when there are none or they are too old."""
        if self.keys is None or self.context.dispatcher.monotonic_ns() >= self.expires_ns:
            return None
        return self.keys

    def wait(self, waiter: KeysWaiter) -> None:
        """`waiter.on_keys` is called when a fetch has ended."""
        self.waiting.append(waiter)
        if self.call is None:
            self._fetch()

    def forget(self, waiter: KeysWaiter) -> None:
        if waiter in self.waiting:
            self.waiting.remove(waiter)

    def on_timer(self, kind: int) -> None:
        if self.call is None:
            self._fetch()

    def _arm(self, delay_ms: int) -> None:
        if self.timer is None:
            self.timer = self.context.dispatcher.timer(self, 0)
        self.timer.arm(delay_ms)

    def _fetch(self) -> None:
        headers = RequestHeaderMap(method=b"GET", path=self.path, authority=self.host, scheme=self.scheme)
        # Envoy says so, too; some key servers want a user agent.
        headers.set(USER_AGENT, b"Go-browser")
        call = AsyncCall(self.client, self.cluster, headers, b"", self.timeout_ms, _Fetch(self), retry=self.retry)
        self.call = call
        call.start()

    def fetched(self, body: bytes | None) -> None:
        """A fetch has ended; None: without a body to use."""
        self.call = None
        success = False
        if body is not None:
            try:
                self.keys = parse_keys(body)
                success = True
            except TokenError:
                pass
        if success:
            self.expires_ns = self.context.dispatcher.monotonic_ns() + self.duration_ns
            self.stats.jwks_fetch_success.inc()
        else:
            self.stats.jwks_fetch_failed.inc()
        if self.refetch_ms >= 0:
            # Fetched anew five seconds before the keys are too old.
            ahead_ms = max(self.duration_ns // 1_000_000 - 5000, 1000)
            self._arm(ahead_ms if success else self.refetch_ms)
        waiting = self.waiting
        self.waiting = []
        for waiter in waiting:
            waiter.on_keys(success)
