"""Configuration of the fault filter: what to inject, into which requests, and what runtime and headers may change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.config.runtime import Runtime
from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.matching.header_matcher import HeaderMatcher, parse_header_matchers
from outrider.matching.runtime_fraction import fractional_percent

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_ABORT: Final = b"x-envoy-fault-abort-request"
_ABORT_GRPC: Final = b"x-envoy-fault-abort-grpc-request"
_ABORT_PERCENTAGE: Final = b"x-envoy-fault-abort-request-percentage"
_DELAY: Final = b"x-envoy-fault-delay-request"
_DELAY_PERCENTAGE: Final = b"x-envoy-fault-delay-request-percentage"
_RATE: Final = b"x-envoy-fault-throughput-response"
_RATE_PERCENTAGE: Final = b"x-envoy-fault-throughput-response-percentage"
_NO_LIMIT: Final = 1 << 62
# absl::SimpleAtoi into 64 bits.
_MAX_DIGITS: Final = 20


def header_number(headers: HeaderMap, name: bytes) -> int:
    """A decimal number of a header; -1 when there is none."""
    value = headers.get(name)
    if value is None or not value.isdigit() or len(value) > _MAX_DIGITS:
        return -1
    return int(value)


class FaultShare:
    """The share of requests that get a fault: a fraction that runtime overrides and a header may lower."""

    __slots__ = ("numerator", "denominator", "runtime_key", "header")

    def __init__(self, numerator: int, denominator: int, runtime_key: str, header: bytes) -> None:
        self.numerator = numerator
        self.denominator = denominator
        self.runtime_key = runtime_key
        # Empty: no header has a say.
        self.header = header

    def includes(self, runtime: Runtime, headers: RequestHeaderMap, random_value: int, cluster_key: str = "") -> bool:
        numerator = self.numerator
        if self.header:
            asked = header_number(headers, self.header)
            if asked >= 0:
                numerator = min(numerator, asked)
        key = cluster_key if cluster_key and runtime.has(cluster_key) else self.runtime_key
        return runtime.fraction_enabled(key, numerator, self.denominator, random_value)


class FaultSettings:
    """One HTTPFault message. `abort_share`, `delay_share` and `rate_share` are None where it has no such fault."""

    __slots__ = (
        "abort_share", "abort_http", "abort_grpc", "abort_by_header", "abort_body", "delay_share", "delay_ms",
        "delay_by_header", "rate_share", "rate_kbps", "upstream_cluster", "matchers", "nodes", "max_active",
        "delay_runtime", "abort_http_runtime", "abort_grpc_runtime", "max_active_runtime", "cluster_stats", "metadata",
    )  # fmt: skip

    def __init__(self) -> None:
        self.abort_share: FaultShare | None = None
        # Status codes to answer with, -1 for none.
        self.abort_http: int = -1
        self.abort_grpc: int = -1
        self.abort_by_header: bool = False
        self.abort_body: str = "fault filter abort"
        self.delay_share: FaultShare | None = None
        self.delay_ms: int = 0
        self.delay_by_header: bool = False
        self.rate_share: FaultShare | None = None
        # KiB a second; 0: a header says it.
        self.rate_kbps: int = 0
        self.upstream_cluster: str = ""
        self.matchers: list[HeaderMatcher] = []
        self.nodes: frozenset[bytes] = frozenset()
        self.max_active: int = _NO_LIMIT
        self.delay_runtime: str = ""
        self.abort_http_runtime: str = ""
        self.abort_grpc_runtime: str = ""
        self.max_active_runtime: str = ""
        self.cluster_stats: bool = True
        self.metadata: dict[str, object] | None = None

    def delay_of(self, headers: RequestHeaderMap) -> int:
        """Milliseconds asked for by the configuration or a header; -1 for none."""
        return header_number(headers, _DELAY) if self.delay_by_header else self.delay_ms

    def http_status_of(self, headers: RequestHeaderMap) -> int:
        """-1 for none."""
        if not self.abort_by_header:
            return self.abort_http
        code = header_number(headers, _ABORT)
        return code if 200 <= code < 600 else -1

    def grpc_status_of(self, headers: RequestHeaderMap) -> int:
        """-1 for none."""
        return header_number(headers, _ABORT_GRPC) if self.abort_by_header else self.abort_grpc

    def rate_of(self, headers: RequestHeaderMap) -> int:
        """KiB a second; 0 or less for none."""
        return self.rate_kbps if self.rate_kbps else header_number(headers, _RATE)


def _share(view: View, runtime_key: str, header: bytes) -> FaultShare:
    percentage = view.message("percentage")
    numerator, denominator = (0, 100) if percentage is None else fractional_percent(percentage)
    return FaultShare(numerator, denominator, runtime_key, header)


def parse_fault(view: View, context: FactoryContext) -> FaultSettings:
    """From an HTTPFault message. Raises ConfigError."""
    made = FaultSettings()
    abort = view.message("abort")
    abort_key = view.text("abort_percent_runtime") or "fault.http.abort.abort_percent"
    if abort is not None:
        kind = abort.which("error_type")
        if kind == "http_status":
            made.abort_http = abort.integer("http_status")
        elif kind == "grpc_status":
            made.abort_grpc = abort.integer("grpc_status")
        else:
            abort.message("header_abort")
            made.abort_by_header = True
        made.abort_share = _share(abort, abort_key, _ABORT_PERCENTAGE if made.abort_by_header else b"")
        made.abort_body = abort.text("response_body") or made.abort_body
    delay = view.message("delay")
    delay_key = view.text("delay_percent_runtime") or "fault.http.delay.fixed_delay_percent"
    if delay is not None:
        if delay.which("fault_delay_secifier") == "fixed_delay":
            made.delay_ms = delay.millis("fixed_delay") or 0
        else:
            delay.message("header_delay")
            made.delay_by_header = True
        made.delay_share = _share(delay, delay_key, _DELAY_PERCENTAGE if made.delay_by_header else b"")
    rate = view.message("response_rate_limit")
    rate_key = view.text("response_rate_limit_percent_runtime") or "fault.http.rate_limit.response_percent"
    if rate is not None:
        fixed = rate.message("fixed_limit")
        if fixed is not None:
            made.rate_kbps = fixed.integer("limit_kbps")
        else:
            rate.message("header_limit")
        made.rate_share = _share(rate, rate_key, b"" if fixed is not None else _RATE_PERCENTAGE)
    made.upstream_cluster = view.text("upstream_cluster")
    made.matchers = parse_header_matchers(view.messages("headers"), context)
    made.nodes = frozenset(node.encode() for node in view.texts("downstream_nodes"))
    made.max_active = view.integer("max_active_faults", _NO_LIMIT)
    made.delay_runtime = view.text("delay_duration_runtime") or "fault.http.delay.fixed_duration_ms"
    made.abort_http_runtime = view.text("abort_http_status_runtime") or "fault.http.abort.http_status"
    made.abort_grpc_runtime = view.text("abort_grpc_status_runtime") or "fault.http.abort.grpc_status"
    made.max_active_runtime = view.text("max_active_faults_runtime") or "fault.http.max_active_faults"
    made.cluster_stats = not view.flag("disable_downstream_cluster_stats")
    made.metadata = view.struct("filter_metadata")
    return made
