"""RouteEntry: a route to a cluster, with everything that the router wants to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.access_log.context import FormatContext
from outrider.data.grpc_status import is_grpc_content_type
from outrider.data.header_names import (
    CONTENT_TYPE,
    GRPC_TIMEOUT,
    X_ENVOY_ORIGINAL_HOST,
    X_ENVOY_ORIGINAL_PATH,
    X_FORWARDED_HOST,
)
from outrider.router.config.route import ROUTE, Route
from outrider.router.timeouts import format_grpc_timeout, parse_grpc_timeout

if TYPE_CHECKING:
    from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
    from outrider.data.stream_info import StreamInfo
    from outrider.http.header_mutation import HeaderParser
    from outrider.router.config.hash_policy import HashPolicy
    from outrider.router.config.host_rewrite import HostRewrite
    from outrider.router.config.internal_redirect import InternalRedirectPolicy
    from outrider.router.config.path_rewrite import PathRewrite
    from outrider.router.config.retry_policy import HedgePolicy, RetryPolicy
    from outrider.router.config.route_match import RouteMatch
    from outrider.router.config.shadow_policy import ShadowPolicy
    from outrider.router.config.upgrade_config import ConnectConfig
    from outrider.router.config.virtual_host import VirtualHost
    from outrider.router.rate_limit_actions import RateLimitPolicy

PRIORITY_DEFAULT: Final = 0
PRIORITY_HIGH: Final = 1

# Shared by all routes without; never changed.
_NO_SHADOWS: Final[list[ShadowPolicy]] = []
_NO_RATE_LIMITS: Final[list[RateLimitPolicy]] = []
_NO_UPGRADES: Final[dict[bytes, bool]] = {}


class RouteEntry(Route):
    """A route to a cluster. Times in milliseconds; -1 where not set, 0 where set to "none"."""

    __slots__ = (
        "cluster_name",
        "cluster_not_found_code",
        "timeout_ms",
        "idle_timeout_ms",
        "flush_timeout_ms",
        "max_stream_duration_ms",
        "grpc_timeout_header_max_ms",
        "grpc_timeout_header_offset_ms",
        "max_grpc_timeout_ms",
        "grpc_timeout_offset_ms",
        "retry_policy",
        "hedge_policy",
        "shadow_policies",
        "priority",
        "hash_policy",
        "upgrades",
        "connect_config",
        "internal_redirect_policy",
        "metadata_match",
        "auto_host_rewrite",
        "append_x_forwarded_host",
        "path_rewrite",
        "host_rewrite",
        "choice_edits",
        "choice_host",
        "rate_limits",
        "include_virtual_host_rate_limits",
    )

    def __init__(self, virtual_host: VirtualHost, match: RouteMatch | None) -> None:
        super().__init__(ROUTE, virtual_host, match)
        # Resolved: routes with weighted clusters or cluster_header never reach the router unresolved. "" when the
        # header of `cluster_header` is absent: no such cluster.
        self.cluster_name: str = ""
        # 503, 404 or 500.
        self.cluster_not_found_code: int = 503
        self.timeout_ms: int = 15_000
        # -1: the connection manager's stream_idle_timeout.
        self.idle_timeout_ms: int = -1
        self.flush_timeout_ms: int = -1
        self.max_stream_duration_ms: int = -1
        self.grpc_timeout_header_max_ms: int = -1
        self.grpc_timeout_header_offset_ms: int = -1
        # Deprecated max_grpc_timeout and grpc_timeout_offset.
        self.max_grpc_timeout_ms: int = -1
        self.grpc_timeout_offset_ms: int = -1
        # Route's, else virtual host's.
        self.retry_policy: RetryPolicy | None = None
        self.hedge_policy: HedgePolicy | None = None
        self.shadow_policies: list[ShadowPolicy] = _NO_SHADOWS
        self.priority: int = PRIORITY_DEFAULT
        self.hash_policy: HashPolicy | None = None
        # Lower-case upgrade type -> enabled.
        self.upgrades: dict[bytes, bool] = _NO_UPGRADES
        # Of the CONNECT upgrade: this proxy terminates CONNECT.
        self.connect_config: ConnectConfig | None = None
        self.internal_redirect_policy: InternalRedirectPolicy | None = None
        # Criteria of `envoy.lb` for subset load balancing.
        self.metadata_match: dict[str, object] | None = None
        self.auto_host_rewrite: bool = False
        self.append_x_forwarded_host: bool = False
        self.path_rewrite: PathRewrite | None = None
        self.host_rewrite: HostRewrite | None = None
        # Of one of several weighted clusters: edits and host that come before all others.
        self.choice_edits: HeaderParser | None = None
        self.choice_host: bytes = b""
        # What describes requests to rate limiters; the virtual host has its own.
        self.rate_limits: list[RateLimitPolicy] = _NO_RATE_LIMITS
        self.include_virtual_host_rate_limits: bool = False

    def assign(self, other: RouteEntry) -> None:
        """Take over all settings of another route (not its virtual host and conditions)."""
        self._assign_base(other)
        self.cluster_name = other.cluster_name
        self.cluster_not_found_code = other.cluster_not_found_code
        self.timeout_ms = other.timeout_ms
        self.idle_timeout_ms = other.idle_timeout_ms
        self.flush_timeout_ms = other.flush_timeout_ms
        self.max_stream_duration_ms = other.max_stream_duration_ms
        self.grpc_timeout_header_max_ms = other.grpc_timeout_header_max_ms
        self.grpc_timeout_header_offset_ms = other.grpc_timeout_header_offset_ms
        self.max_grpc_timeout_ms = other.max_grpc_timeout_ms
        self.grpc_timeout_offset_ms = other.grpc_timeout_offset_ms
        self.retry_policy = other.retry_policy
        self.hedge_policy = other.hedge_policy
        self.shadow_policies = other.shadow_policies
        self.priority = other.priority
        self.hash_policy = other.hash_policy
        self.upgrades = other.upgrades
        self.connect_config = other.connect_config
        self.internal_redirect_policy = other.internal_redirect_policy
        self.metadata_match = other.metadata_match
        self.auto_host_rewrite = other.auto_host_rewrite
        self.append_x_forwarded_host = other.append_x_forwarded_host
        self.path_rewrite = other.path_rewrite
        self.host_rewrite = other.host_rewrite
        self.choice_edits = other.choice_edits
        self.choice_host = other.choice_host
        self.rate_limits = other.rate_limits
        self.include_virtual_host_rate_limits = other.include_virtual_host_rate_limits

    @property
    def include_attempt_count_in_request(self) -> bool:
        return self.virtual_host.include_attempt_count_in_request

    @property
    def include_attempt_count_in_response(self) -> bool:
        return self.virtual_host.include_attempt_count_in_response

    @property
    def include_is_timeout_retry_header(self) -> bool:
        return self.virtual_host.include_is_timeout_retry_header

    def upgrade_enabled(self, kind: bytes) -> int:
        """Whether `upgrade_configs` allow an upgrade (lower-case type): -1 not said, 0 no, 1 yes."""
        allowed = self.upgrades.get(kind)
        return -1 if allowed is None else 1 if allowed else 0

    def edit_local_reply(self, headers: ResponseHeaderMap, request: RequestHeaderMap, info: StreamInfo) -> None:
        self.finalize_response_headers(headers, request, info)

    def idle_timeout_override(self) -> int:
        return self.idle_timeout_ms

    def flush_timeout_override(self) -> int:
        return self.flush_timeout_ms

    def stream_duration(self, headers: RequestHeaderMap, default_ms: int) -> int:
        maximum = self.grpc_timeout_header_max_ms
        if maximum < 0 and self.max_stream_duration_ms <= 0:
            return self.max_stream_duration_ms
        grpc = is_grpc_content_type(headers.single.get(CONTENT_TYPE, b""))
        wanted = -1
        if maximum >= 0:
            asked = headers.get(GRPC_TIMEOUT)
            if asked is not None:
                wanted = parse_grpc_timeout(asked)
        if wanted < 0:
            duration = self.max_stream_duration_ms
            effective = duration if duration >= 0 else default_ms
            if effective > 0 and grpc:
                headers.set(GRPC_TIMEOUT, format_grpc_timeout(effective))
            return duration
        if 0 < maximum < wanted:
            wanted = maximum
        if self.grpc_timeout_header_offset_ms > 0:
            wanted = max(wanted - self.grpc_timeout_header_offset_ms, 0)
        if grpc:
            headers.set(GRPC_TIMEOUT, format_grpc_timeout(wanted))
        # No time at all is not the same as no limit.
        return wanted if wanted > 0 else 1

    def bounds_duration(self) -> bool:
        """Whether `max_stream_duration`, the newer kind of timeout, is in use: the connection manager watches it."""
        return self.max_stream_duration_ms >= 0 or self.grpc_timeout_header_max_ms >= 0

    def finalize_request_headers(self, headers: RequestHeaderMap, info: StreamInfo, keep_original: bool) -> None:
        """Edit the request for upstream: header mutations, host rewrite, path rewrite.

        `keep_original`: leave the old path and host in x-envoy-original-path and x-envoy-original-host.
        """
        if self.choice_edits is not None:
            self.choice_edits.evaluate_headers(headers, FormatContext(info, headers))
        if self.choice_host:
            headers.authority = self.choice_host
        edits = self.request_edits
        if edits:
            context = FormatContext(info, headers)
            for edit in edits:
                edit.evaluate_headers(headers, context)
        host_rewrite = self.host_rewrite
        if host_rewrite is not None:
            host = host_rewrite.rewrite(headers, info)
            if host:
                update_authority(headers, host, self.append_x_forwarded_host, keep_original)
        path_rewrite = self.path_rewrite
        if path_rewrite is not None:
            path = path_rewrite.rewrite(headers, info)
            if path is not None:
                if keep_original:
                    headers.set(X_ENVOY_ORIGINAL_PATH, headers.path)
                headers.path = path

    def describe_action(self) -> str:
        return f"cluster {self.cluster_name!r}"


def update_authority(
    headers: RequestHeaderMap, host: bytes, append_x_forwarded_host: bool, keep_original: bool
) -> None:
    """Replace the authority; the router calls it too, for auto_host_rewrite."""
    old = headers.authority
    if keep_original:
        headers.set(X_ENVOY_ORIGINAL_HOST, old)
    if append_x_forwarded_host and old:
        forwarded = headers.get_joined(X_FORWARDED_HOST)
        # A retry or an internal redirect must not append the same host again.
        if not forwarded or forwarded[forwarded.rfind(b",") + 1 :] != old:
            headers.append(X_FORWARDED_HOST, old)
    headers.authority = host
