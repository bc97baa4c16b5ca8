"""Finished spans on their way to a collector: kept until there are some, or for some time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from outrider.event.timer import Timer, TimerOwner

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext
    from outrider.stats.store import Scope

_FLUSH: Final = 0
DEFAULT_FLUSH_INTERVAL_MS: Final = 5000
DEFAULT_MIN_FLUSH_SPANS: Final = 5


class SpanBuffer(TimerOwner):
    """`name`: of the tracer, in stats and runtime keys. `limit`: spans that may wait; more are dropped."""

    def __init__(
        self, context: FactoryContext, name: str, scope: Scope, limit: int, send: Callable[[list[Any]], None]
    ) -> None:
        self.runtime = context.runtime
        self.dispatcher = context.dispatcher
        self.name = name
        self.limit = limit
        self.send = send
        self.spans: list[Any] = []
        self.spans_sent = scope.counter("spans_sent")
        self.timer_flushed = scope.counter("timer_flushed")
        self._dropped = scope.counter("spans_dropped") if name == "opentelemetry" else None
        self._timer: Timer | None = None

    def add(self, span: Any) -> None:
        if len(self.spans) >= self.limit:
            if self._dropped is not None:
                self._dropped.inc()
            return
        self.spans.append(span)
        least = self.runtime.get_integer(f"tracing.{self.name}.min_flush_spans", DEFAULT_MIN_FLUSH_SPANS)
        if len(self.spans) >= least:
            self.flush()
        elif self._timer is None or not self._timer.armed:
            if self._timer is None:
                self._timer = self.dispatcher.timer(self, _FLUSH)
            interval = self.runtime.get_integer(
                f"tracing.{self.name}.flush_interval_ms", DEFAULT_FLUSH_INTERVAL_MS
            )
            self._timer.arm(interval)

    def on_timer(self, kind: int) -> None:
        self.timer_flushed.inc()
        self.flush()

    def flush(self) -> None:
        """Send what there is."""
        spans = self.spans
        if not spans:
            return
        self.spans = []
        self.spans_sent.add(len(spans))
        self.send(spans)
