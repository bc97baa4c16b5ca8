"""`HttpConnectionManager.Tracing`, and the decision whether a request is traced.

Source: Envoy documentation, "Tracing"; `ConnectionManagerUtility::mutateTracingRequestHeader`.
"""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING, Final

from outrider.access_log.context import FormatContext
from outrider.data.header_map import RequestHeaderMap
from outrider.data.stream_info import StreamInfo
from outrider.tracing.span import Tracer

if TYPE_CHECKING:
    from outrider.access_log.formatter import Formatter
    from outrider.config.runtime import Runtime
    from outrider.tracing.custom_tags import CustomTag

# Trace reasons (StreamInfo.trace_reason).
NOT_TRACEABLE: Final = 0
SAMPLING: Final = 1
SERVICE_FORCED: Final = 2
CLIENT_FORCED: Final = 3

X_CLIENT_TRACE_ID: Final = b"x-client-trace-id"
X_ENVOY_FORCE_TRACE: Final = b"x-envoy-force-trace"
DEFAULT_PATH_TAG_LENGTH: Final = 256
ALL: Final[tuple[int, int]] = (100, 100)
"""A share of the requests: numerator and denominator."""


class RouteTracing:
    """What a route says."""

    __slots__ = ("client_sampling", "random_sampling", "overall_sampling", "custom_tags", "operation",
                 "upstream_operation")  # fmt: skip

    def __init__(
        self, client_sampling: tuple[int, int], random_sampling: tuple[int, int], overall_sampling: tuple[int, int]
    ) -> None:
        self.client_sampling = client_sampling
        self.random_sampling = random_sampling
        self.overall_sampling = overall_sampling
        self.custom_tags: list[CustomTag] = []
        self.operation: Formatter | None = None
        self.upstream_operation: Formatter | None = None


class TracingConfig:
    """Of one connection manager."""

    __slots__ = (
        "tracer", "runtime", "egress", "client_sampling", "random_sampling", "overall_sampling", "verbose",
        "max_path_tag_length", "custom_tags", "spawn_upstream_span", "operation", "upstream_operation",
        "no_context_propagation", "node_id", "zone", "use_request_id",
    )  # fmt: skip

    def __init__(self, tracer: Tracer, runtime: Runtime, egress: bool) -> None:
        self.tracer = tracer
        self.runtime = runtime
        self.egress = egress
        self.client_sampling: tuple[int, int] = ALL
        self.random_sampling: tuple[int, int] = ALL
        self.overall_sampling: tuple[int, int] = ALL
        self.verbose: bool = False
        self.max_path_tag_length: int = DEFAULT_PATH_TAG_LENGTH
        self.custom_tags: list[CustomTag] = []
        self.spawn_upstream_span: bool = False
        self.operation: Formatter | None = None
        self.upstream_operation: Formatter | None = None
        self.no_context_propagation: bool = False
        self.node_id: str = ""
        self.zone: str = ""
        # Whether the request id decides (and carries) the sampling.
        self.use_request_id: bool = True

    def decide(self, headers: RequestHeaderMap, info: StreamInfo, route: RouteTracing | None, number: int) -> int:
        """The trace reason. `info.trace_reason` is what the request id says; `number` the number of that id, -1 if it
        has none: then the request is not traced."""
        if not self.use_request_id:
            number = getrandbits(31)
            reason = NOT_TRACEABLE
        elif number < 0:
            return NOT_TRACEABLE
        else:
            reason = info.trace_reason
        client, random, overall = self.client_sampling, self.random_sampling, self.overall_sampling
        if route is not None:
            client, random, overall = route.client_sampling, route.random_sampling, route.overall_sampling
        runtime = self.runtime
        if reason == NOT_TRACEABLE:
            single = headers.single
            if X_CLIENT_TRACE_ID in single and runtime.fraction_enabled(
                "tracing.client_enabled", client[0], client[1], getrandbits(31)
            ):
                reason = CLIENT_FORCED
            elif X_ENVOY_FORCE_TRACE in single:
                reason = SERVICE_FORCED
            elif runtime.fraction_enabled("tracing.random_sampling", random[0], random[1], number):
                reason = SAMPLING
        if reason != NOT_TRACEABLE and not runtime.fraction_enabled(
            "tracing.global_enabled", overall[0], overall[1], number
        ):
            reason = NOT_TRACEABLE
        return reason

    def operation_name(self, context: FormatContext, route: RouteTracing | None) -> str:
        """What configuration calls the request's span; empty: Envoy's default."""
        formatter = self.operation if route is None or route.operation is None else route.operation
        return "" if formatter is None else formatter.format(context)

    def upstream_operation_name(self, context: FormatContext, route: RouteTracing | None) -> str:
        formatter = self.upstream_operation
        if route is not None and route.upstream_operation is not None:
            formatter = route.upstream_operation
        return "" if formatter is None else formatter.format(context)
