"""What all calls to one `envoy_grpc` service share."""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING

from outrider.http.header_mutation import HeaderParser
from outrider.router.config.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.event.dispatcher import Dispatcher
    from outrider.factory_context import FactoryContext
    from outrider.stats.metrics import Counter
    from outrider.upstream.cluster_manager import ClusterManager


class EnvoyGrpcService:
    """Settings of a GrpcService whose calls go over a cluster, and what of this process half they need."""

    __slots__ = (
        "cluster_name", "authority", "timeout_ms", "metadata", "plain_metadata", "send_envoy_headers",
        "max_message_length", "retry_policy", "clusters", "dispatcher", "runtime", "rq_total", "zone",
    )  # fmt: skip

    def __init__(self, context: FactoryContext, cluster_name: str, authority: str, max_message_length: int) -> None:
        self.cluster_name = cluster_name
        self.authority: bytes = (authority or cluster_name).encode()
        # 0: none.
        self.timeout_ms: int = 0
        # `initial_metadata`: formatted where a call has a parent stream; its plain texts where it has none.
        self.metadata: HeaderParser | None = None
        self.plain_metadata: list[tuple[bytes, bytes]] = []
        # `x-envoy-internal` and `x-forwarded-for`.
        self.send_envoy_headers: bool = True
        self.max_message_length = max_message_length
        self.retry_policy: RetryPolicy | None = None
        self.clusters: ClusterManager = context.cluster_manager
        self.dispatcher: Dispatcher = context.dispatcher
        self.runtime: Runtime = context.runtime
        self.rq_total: Counter = context.root_scope.counter("http.async-client.rq_total")
        self.zone: str = context.server.node_zone

    def retries_enabled(self) -> bool:
        """Runtime `upstream.use_retry`, by default on."""
        runtime = self.runtime
        if not runtime.has("upstream.use_retry"):
            return True
        return runtime.feature_enabled("upstream.use_retry", 100, getrandbits(63))

    def __repr__(self) -> str:
        return f"<EnvoyGrpcService {self.cluster_name}>"
