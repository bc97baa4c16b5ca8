"""`cluster.<name>.grpc.*`: what gRPC filters count of calls, by method or all together. No filter of its own.

Source: Envoy documentation, "gRPC statistics".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap
from outrider.data.header_names import GRPC_STATUS
from outrider.http.filter_manager import FilterManager
from outrider.stats.metrics import UNIT_MILLISECONDS, Counter, Histogram

if TYPE_CHECKING:
    from outrider.stats.store import Scope
    from outrider.upstream.cluster_info import ClusterInfo
    from outrider.upstream.cluster_manager import ClusterManager

# Methods that are counted by name: paths are the client's choice. Further ones share the metrics without a name.
MAX_METHODS: Final = 1000
_MAX_STATUS_LENGTH: Final = 3


def service_and_method(path: bytes) -> tuple[str, str] | None:
    """The two segments of a gRPC path; None when there are more or fewer."""
    parts = [part for part in path.partition(b"?")[0].split(b"/") if part]
    if len(parts) != 2:
        return None
    return parts[0].decode("latin-1"), parts[1].decode("latin-1")


class MethodStats:
    """The metrics of one method on one cluster, each made when first needed, as in Envoy."""

    __slots__ = ("_scope", "_prefix", "_counters", "_time")

    def __init__(self, scope: Scope, prefix: str) -> None:
        self._scope = scope
        self._prefix = prefix
        self._counters: dict[str, Counter] = {}
        self._time: Histogram | None = None

    def counter(self, name: str) -> Counter:
        found = self._counters.get(name)
        if found is None:
            found = self._counters[name] = self._scope.counter(self._prefix + name)
        return found

    def charge_status(self, fields: HeaderMap) -> None:
        """Count by `grpc-status`, where it is there: the code, success or failure, and in total."""
        value = fields.get(GRPC_STATUS)
        if value is None:
            return
        # Upstreams choose the text: what is no code at all is counted as one.
        text = value.decode("latin-1") if value.isdigit() and len(value) <= _MAX_STATUS_LENGTH else "invalid"
        self.counter(text).inc()
        self.charge(value == b"0")

    def charge(self, success: bool) -> None:
        self.counter("success" if success else "failure").inc()
        self.counter("total").inc()

    def record_time(self, milliseconds: int) -> None:
        """From the last byte sent upstream to the last byte received."""
        if self._time is None:
            self._time = self._scope.histogram(self._prefix + "upstream_rq_time", UNIT_MILLISECONDS)
        self._time.record(milliseconds)


class _ClusterMethods:
    """What is known of one cluster; replaced together with it."""

    __slots__ = ("info", "methods")

    def __init__(self, info: ClusterInfo) -> None:
        self.info = info
        self.methods: dict[tuple[str, str] | None, MethodStats] = {}


class GrpcCharger:
    """Finds the metrics for requests. One for each configured filter."""

    __slots__ = ("_clusters", "_protocol", "_known")

    def __init__(self, clusters: ClusterManager, protocol: str = "grpc") -> None:
        """`protocol` is `grpc` or `grpc-web`."""
        self._clusters = clusters
        self._protocol = protocol
        self._known: dict[str, _ClusterMethods] = {}

    def cluster_of(self, manager: FilterManager) -> ClusterInfo | None:
        """The cluster of the current route."""
        name = getattr(manager.route(), "cluster_name", None)
        if not isinstance(name, str):
            return None
        cluster = self._clusters.get(name)
        return None if cluster is None else cluster.info

    def find(self, info: ClusterInfo, names: tuple[str, str] | None) -> MethodStats:
        """The metrics of a method; `names` None = those of all methods together."""
        known = self._known.get(info.name)
        if known is None or known.info is not info:
            known = self._known[info.name] = _ClusterMethods(info)
        found = known.methods.get(names)
        if found is not None:
            return found
        if names is not None and len(known.methods) >= MAX_METHODS:
            return self.find(info, None)
        prefix = f"{self._protocol}." if names is None else f"{self._protocol}.{names[0]}.{names[1]}."
        found = known.methods[names] = MethodStats(info.scope, prefix)
        return found

    def for_request(self, manager: FilterManager, path: bytes) -> MethodStats | None:
        """The metrics of the request's method; None without cluster or gRPC path."""
        info = self.cluster_of(manager)
        if info is None:
            return None
        names = service_and_method(path)
        return None if names is None else self.find(info, names)
