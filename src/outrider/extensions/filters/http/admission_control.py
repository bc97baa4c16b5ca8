"""envoy.filters.http.admission_control: refuses a share of requests while too few succeed.

Source: Envoy documentation, "Admission Control"; the formula is that of "Handling Overload" in Google's SRE book.
Each worker looks at its own requests, as each of Envoy's threads does.
"""

from __future__ import annotations

from collections import deque
from random import random
from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_TYPE, GRPC_STATUS
from outrider.http.filter import (
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    HttpFilter,
    HttpFilterFactory,
)
from outrider.http.filter_registry import HTTP_FILTERS
from outrider.http.grpc_status import is_grpc_content_type

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.config.view import View
    from outrider.event.dispatcher import Dispatcher
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.http.admission_control.v3.AdmissionControl"
_NANOS: Final = 1_000_000_000
# ABORTED, DATA_LOSS, DEADLINE_EXCEEDED, INTERNAL, RESOURCE_EXHAUSTED and UNAVAILABLE are failures.
_GRPC_SUCCESS: Final = frozenset(set(range(17)) - {10, 15, 4, 13, 8, 14})
_GRPC_LAST: Final = 16


class SuccessWindow:
    """Requests and successes of the last seconds, second by second."""

    __slots__ = ("seconds", "requests", "successes", "_slots", "_dispatcher")

    def __init__(self, seconds: int, dispatcher: Dispatcher) -> None:
        self.seconds = seconds
        self.requests = 0
        self.successes = 0
        # [second, requests, successes]
        self._slots: deque[list[int]] = deque()
        self._dispatcher = dispatcher

    def refresh(self) -> None:
        oldest = self._dispatcher.monotonic_ns() // _NANOS - self.seconds
        while self._slots and self._slots[0][0] <= oldest:
            _, requests, successes = self._slots.popleft()
            self.requests -= requests
            self.successes -= successes

    def record(self, success: bool) -> None:
        self.refresh()
        now = self._dispatcher.monotonic_ns() // _NANOS
        if not self._slots or self._slots[-1][0] != now:
            self._slots.append([now, 0, 0])
        slot = self._slots[-1]
        slot[1] += 1
        self.requests += 1
        if success:
            slot[2] += 1
            self.successes += 1

    def rate(self) -> int:
        """Requests a second."""
        return self.requests // self.seconds


class RuntimeNumber:
    """A RuntimeDouble, RuntimePercent or RuntimeUInt32."""

    __slots__ = ("runtime", "key", "default")

    def __init__(self, view: View | None, default: float, runtime: Runtime) -> None:
        self.runtime = runtime
        self.key = "" if view is None else view.text("runtime_key")
        self.default = default
        if view is not None:
            whole = view.type_name.endswith("RuntimeUInt32")
            self.default = view.integer("default_value") if whole else view.number("default_value")

    def value(self) -> float:
        if not self.key or not self.runtime.has(self.key):
            return self.default
        return self.runtime.get_number(self.key, self.default)


class AdmissionSettings:
    """Raises ConfigError."""

    def __init__(self, config: View, context: FactoryContext) -> None:
        enabled = config.message("enabled")
        self.runtime = context.runtime
        self.enabled_default = True if enabled is None else enabled.flag("default_value", True)
        self.enabled_key = "" if enabled is None else enabled.text("runtime_key")
        criteria = config.message("success_criteria")
        if criteria is None:
            raise config.error("value is required", "evaluation_criteria")
        self.http: list[tuple[int, int]] = [(100, 500)]
        http = criteria.message("http_criteria")
        if http is not None:
            self.http = []
            for each in http.messages("http_success_status"):
                start, end = each.integer("start"), each.integer("end")
                if start >= end or start < 100 or end > 600:
                    raise each.error(f"invalid HTTP range: {{{start}, {end}}}")
                self.http.append((start, end))
        self.grpc = _GRPC_SUCCESS
        grpc = criteria.message("grpc_criteria")
        if grpc is not None:
            self.grpc = frozenset(grpc.integers("grpc_success_status"))
            for status in self.grpc:
                if status > _GRPC_LAST:
                    raise grpc.error(f"invalid gRPC code {status}", "grpc_success_status")
        window = config.millis("sampling_window")
        self.window = SuccessWindow(max((30_000 if window is None else window) // 1000, 1), context.dispatcher)
        self.aggression = RuntimeNumber(config.message("aggression"), 1.0, context.runtime)
        self.threshold = RuntimeNumber(config.message("sr_threshold"), 95.0, context.runtime)
        if self.threshold.default < 1.0:
            raise config.error("Success rate threshold cannot be less than 1.0%.", "sr_threshold")
        self.rate = RuntimeNumber(config.message("rps_threshold"), 0, context.runtime)
        self.most = RuntimeNumber(config.message("max_rejection_probability"), 80.0, context.runtime)
        scope = context.scope.scope("admission_control.")
        self.rejected = scope.counter("rq_rejected")
        self.success = scope.counter("rq_success")
        self.failure = scope.counter("rq_failure")

    def enabled(self) -> bool:
        return self.runtime.get_boolean(self.enabled_key, self.enabled_default) if self.enabled_key else (
            self.enabled_default
        )  # fmt: skip

    def probability(self) -> float:
        """Of a refusal, 0 to 1."""
        window = self.window
        window.refresh()
        if window.rate() < self.rate.value():
            return 0.0
        threshold = min(self.threshold.value(), 100.0) / 100
        share = (window.requests - window.successes / threshold) / (window.requests + 1)
        if share <= 0:
            return 0.0
        aggression = max(self.aggression.value(), 1.0)
        return float(min(share ** (1 / aggression), self.most.value() / 100))

    def record(self, success: bool) -> None:
        (self.success if success else self.failure).inc()
        self.window.record(success)


class AdmissionFilter(HttpFilter):
    def __init__(self, settings: AdmissionSettings) -> None:
        self.settings = settings
        # The outcome of the request is still to be recorded.
        self.open = False
        self.is_grpc = False
        self.waits_for_trailers = False

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        settings = self.settings
        if not settings.enabled() or self.manager.stream_info.health_check:
            return HEADERS_CONTINUE
        if random() < settings.probability():
            settings.rejected.inc()
            self.manager.send_local_reply(503, "", "denied_by_admission_control")
            return HEADERS_STOP_ITERATION
        self.open = True
        self.is_grpc = is_grpc_content_type(headers.single.get(CONTENT_TYPE))
        return HEADERS_CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        if not self.open:
            return HEADERS_CONTINUE
        if self.is_grpc and is_grpc_content_type(headers.single.get(CONTENT_TYPE)):
            status = headers.get(GRPC_STATUS)
            if end_stream and status is not None:
                self._record_grpc(status)
            else:
                self.waits_for_trailers = True
            return HEADERS_CONTINUE
        self._record(any(start <= headers.status < end for start, end in self.settings.http))
        return HEADERS_CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> int:
        if self.open and self.waits_for_trailers:
            self._record_grpc(trailers.get(GRPC_STATUS))
        return TRAILERS_CONTINUE

    def _record_grpc(self, status: bytes | None) -> None:
        self._record(status is not None and status.isdigit() and int(status) in self.settings.grpc)

    def _record(self, success: bool) -> None:
        self.open = False
        self.settings.record(success)

    def on_destroy(self) -> None:
        if self.open:
            # No answer, or none that says how it went.
            self._record(False)


class AdmissionFactory(HttpFilterFactory):
    def __init__(self, settings: AdmissionSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return AdmissionFilter(self.settings)


@HTTP_FILTERS.register("envoy.filters.http.admission_control", TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return AdmissionFactory(AdmissionSettings(config, context))
