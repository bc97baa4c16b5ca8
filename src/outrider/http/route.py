"""What the HTTP layer needs of a route. The router's `Route` is the subclass; this layer knows no more of routing."""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.stream_info import StreamInfo
from outrider.tracing.config import RouteTracing


@mypyc_attr(allow_interpreted_subclasses=True)
class HttpRoute:
    """Base of `router.config.route.Route`."""

    __slots__ = ("name",)

    def __init__(self) -> None:
        # Name in the configuration, may be empty.
        self.name: str = ""

    def virtual_host_name(self) -> str:
        return ""

    def tracing_settings(self) -> RouteTracing | None:
        """What the route says of tracing; None: nothing."""
        return None

    def decorator_operation(self) -> bytes:
        """The operation that the route gives its requests' spans; may be empty."""
        return b""

    def decorator_propagates(self) -> bool:
        """Whether others are told of it."""
        return True

    def upgrade_enabled(self, kind: bytes) -> int:
        """Whether the route itself allows an upgrade to `kind` (lower case): -1 not said, 0 no, 1 yes."""
        return -1

    def has_filter_switches(self) -> bool:
        """Whether `filter_disabled` may answer anything but -1."""
        return False

    def filter_disabled(self, filter_name: str) -> int:
        """-1 not said, 0 enabled, 1 disabled for this route."""
        return -1

    def per_filter_config(self, filter_name: str) -> object | None:
        """The most specific configuration of a filter for this route."""
        return None

    def per_filter_configs(self, filter_name: str) -> list[object]:
        """All configurations of a filter for this route, least specific first; not to be changed."""
        return []

    def edit_local_reply(self, headers: ResponseHeaderMap, request: RequestHeaderMap, info: StreamInfo) -> None:
        """Apply the route's response header edits to an answer that the proxy itself gives."""

    def idle_timeout_override(self) -> int:
        """Milliseconds that replace the connection manager's stream idle timeout; 0 = off, -1 = not said."""
        return -1

    def flush_timeout_override(self) -> int:
        """Milliseconds that a complete response may wait for the client's window; 0 = for ever, -1 = not said."""
        return -1

    def stream_duration(self, headers: RequestHeaderMap, default_ms: int) -> int:
        """Milliseconds that replace the connection manager's maximum stream duration `default_ms`; 0 = off, -1 = not
        said. Where the route bounds gRPC timeouts, `grpc-timeout` tells the upstream the outcome."""
        return -1
