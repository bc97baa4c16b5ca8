"""The contract of tracers: spans are made, told things, and finished."""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from outrider.data.header_map import HeaderMap


@mypyc_attr(allow_interpreted_subclasses=True)
class Span:
    """One span of one trace. Times are Unix nanoseconds."""

    def set_operation(self, operation: str) -> None:
        """Another name."""
        raise NotImplementedError

    def set_tag(self, name: str, value: str) -> None:
        raise NotImplementedError

    def log(self, time_ns: int, event: str) -> None:
        """Something that happened meanwhile."""
        raise NotImplementedError

    def inject(self, headers: HeaderMap) -> None:
        """Tell the next hop of this span."""
        raise NotImplementedError

    def child(self, operation: str, start_ns: int) -> Span:
        """A span of an upstream request below this one."""
        raise NotImplementedError

    def finish(self, end_ns: int) -> None:
        """Over: to be reported, if it is sampled."""
        raise NotImplementedError

    def trace_id(self) -> str:
        return ""

    def span_id(self) -> str:
        return ""


@mypyc_attr(allow_interpreted_subclasses=True)
class Tracer:
    """Makes the spans of requests."""

    def start_span(
        self, headers: HeaderMap, host: str, operation: str, start_ns: int, traced: bool, egress: bool, spawn: bool
    ) -> Span:
        """The span of a request that has come in.

        `headers` may name the span above. `operation` is Envoy's default name. `traced`: it is to be sampled, unless
        the caller has decided already. `egress`: the proxy calls on behalf of its application. `spawn`: upstream
        requests get spans of their own.
        """
        raise NotImplementedError
