"""What an HTTP connection manager was configured to do, as plain values (`conn_manager_config` fills it).

Times are milliseconds, 0 = off. Names are those of
`envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.stream_info import StreamInfo
from outrider.http.codec import ServerConnection, ServerConnectionCallbacks
from outrider.http.conn_manager_stats import HcmStats, ListenerHttpStats
from outrider.http.filter_chain import HttpFilterChain
from outrider.overload.state import OverloadState
from outrider.tracing.config import TracingConfig

if TYPE_CHECKING:
    from outrider.access_log.access_log import AccessLog
    from outrider.config.runtime import Runtime
    from outrider.factory_context import ServerInfo
    from outrider.http.local_reply import LocalReplyConfig
    from outrider.network.connection import Connection

CODEC_AUTO: Final = 0
CODEC_HTTP1: Final = 1
CODEC_HTTP2: Final = 2
CODEC_HTTP3: Final = 3


class Rejection:
    """A request that the header rules refuse."""

    __slots__ = ("code", "body", "details", "location")

    def __init__(self, code: int, body: str, details: str, location: bytes = b"") -> None:
        self.code = code
        self.body = body
        self.details = details
        # For redirects (a normalised path).
        self.location = location


@mypyc_attr(allow_interpreted_subclasses=True)
class HeaderRules:
    """How the connection manager edits headers before and after the filters. Compiled from the configuration."""

    def mutate_request(self, headers: RequestHeaderMap, info: StreamInfo) -> Rejection | None:
        """Normalise, sanitise and complete the request headers; None = go on."""
        raise NotImplementedError

    def mutate_response(
        self, request_headers: RequestHeaderMap | None, headers: ResponseHeaderMap, info: StreamInfo
    ) -> None:
        """Remove hop-by-hop fields, add date, server, via, request id."""
        raise NotImplementedError

    def mutate_response_trailers(self, trailers: HeaderMap) -> None:
        """Remove what must not leave in trailers."""


@mypyc_attr(allow_interpreted_subclasses=True)
class RouteUpdateWaiter:
    """Somebody who has asked for a route that is not there yet (`RouteProvider.request_update`)."""

    def on_route_update(self, found: bool) -> None:
        """The answer is in force: look again. `found` False: there is no such thing, or asking is not possible."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class RouteProvider:
    """Where the routes come from: fixed, or discovered (RDS), then `route_config` changes."""

    # `router.config.route.RouteConfig`, or None while nothing has arrived.
    def match(self, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> object:
        """The route (`router.config.route.Route`) of a request, or None."""
        raise NotImplementedError

    def internal_only_headers(self) -> list[bytes]:
        """Headers (lower case) that external requests must not bring along; changes in place with the routes."""
        return []

    def request_update(self, headers: RequestHeaderMap, waiter: RouteUpdateWaiter) -> bool:
        """Discover what the request's route lacks (VHDS, scopes on demand). False: nothing can be discovered."""
        return False

    def forget(self, waiter: RouteUpdateWaiter) -> None:
        """The waiter's request is over."""


@mypyc_attr(allow_interpreted_subclasses=True)
class CodecFactory:
    """Makes the codec of a new connection."""

    def create(self, connection: Connection, callbacks: ServerConnectionCallbacks, protocol: int) -> ServerConnection:
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class DrainDecision:
    """Whether connections should be asked to go away (listener removed, server draining, health check failed)."""

    def drain_close(self) -> bool:
        return False


class UpgradeFilterChain:
    """One entry of `upgrade_configs`."""

    __slots__ = ("enabled", "chain")

    def __init__(self, enabled: bool, chain: HttpFilterChain | None) -> None:
        self.enabled = enabled
        # None: the ordinary chain.
        self.chain = chain


class HcmSettings:
    """Everything that the connection manager and its streams read at run time."""

    def __init__(
        self,
        stats: HcmStats,
        listener_stats: ListenerHttpStats,
        chain: HttpFilterChain,
        routes: RouteProvider,
        header_rules: HeaderRules,
        codecs: CodecFactory,
        drain: DrainDecision,
        server: ServerInfo,
        local_reply: LocalReplyConfig,
    ) -> None:
        self.stats = stats
        self.listener_stats = listener_stats
        self.chain = chain
        self.routes = routes
        self.header_rules = header_rules
        self.codecs = codecs
        self.drain = drain
        self.server = server
        self.local_reply = local_reply
        self.stat_prefix: str = ""
        self.codec_type: int = CODEC_AUTO
        self.upgrades: dict[bytes, UpgradeFilterChain] = {}
        self.access_logs: list[AccessLog] = []
        self.flush_access_log_on_new_request: bool = False
        self.access_log_flush_interval_ms: int = 0
        self.flush_log_on_tunnel_successfully_established: bool = False
        self.proxy_100_continue: bool = False
        self.accept_http_10: bool = False
        self.default_host_for_http_10: bytes = b""
        # Defaults as documented by Envoy.
        self.idle_timeout_ms: int = 3_600_000
        self.stream_idle_timeout_ms: int = 300_000
        # A complete response that waits for the client's window; -1 = as the idle timeout.
        self.stream_flush_timeout_ms: int = -1
        self.request_timeout_ms: int = 0
        self.request_headers_timeout_ms: int = 0
        self.max_connection_duration_ms: int = 0
        self.http1_safe_max_connection_duration: bool = False
        self.max_stream_duration_ms: int = 0
        self.drain_timeout_ms: int = 5_000
        self.drain_timeout_jitter: float = 0.0
        self.delayed_close_timeout_ms: int = 1_000
        self.max_requests_per_connection: int = 0
        # For the limits of premature resets; None in tests: the defaults.
        self.runtime: Runtime | None = None
        # None: requests are not traced.
        self.tracing: TracingConfig | None = None
        # All off unless there is an overload manager.
        self.overload: OverloadState = OverloadState()
