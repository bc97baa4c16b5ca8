"""`http1.*` counters of a server (at the root) or of a cluster."""

from __future__ import annotations

from outrider.stats.metrics import Counter
from outrider.stats.store import Scope


class Http1Stats:
    """Shared by all HTTP/1 codecs of one owner. `scope` is the root scope, or that of the cluster."""

    __slots__ = (
        "dropped_headers_with_underscores",
        "metadata_not_supported_error",
        "requests_rejected_with_underscores_in_headers",
        "response_flood",
    )

    def __init__(self, scope: Scope) -> None:
        self.dropped_headers_with_underscores: Counter = scope.counter("http1.dropped_headers_with_underscores")
        # METADATA frames cannot be sent over HTTP/1; there are none before HTTP/2 is served.
        self.metadata_not_supported_error: Counter = scope.counter("http1.metadata_not_supported_error")
        self.requests_rejected_with_underscores_in_headers: Counter = scope.counter(
            "http1.requests_rejected_with_underscores_in_headers"
        )
        # Pipelined requests wait until the responses before them have left, so there is no flood to count.
        self.response_flood: Counter = scope.counter("http1.response_flood")
