"""A host: one upstream endpoint as a worker sees it, with its health, stats and pools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.data.address import Address
from outrider.stats.metrics import Counter, Gauge
from outrider.stats.store import Scope

if TYPE_CHECKING:
    from outrider.network.transport_socket import TransportSocketFactory
    from outrider.upstream.cluster_info import ClusterInfo
    from outrider.upstream.conn_pool import HttpConnPool, TcpConnPool
    from outrider.upstream.resource_manager import Resource

# Health flags, in the order in which Envoy prints them (`envoy/upstream/upstream.h`).
FAILED_ACTIVE_HC: Final = 0x1
FAILED_OUTLIER_CHECK: Final = 0x2
FAILED_EDS_HEALTH: Final = 0x4
DEGRADED_ACTIVE_HC: Final = 0x8
DEGRADED_EDS_HEALTH: Final = 0x10
PENDING_DYNAMIC_REMOVAL: Final = 0x20
PENDING_ACTIVE_HC: Final = 0x40
EXCLUDED_VIA_IMMEDIATE_HC_FAIL: Final = 0x80
ACTIVE_HC_TIMEOUT: Final = 0x100
EDS_STATUS_DRAINING: Final = 0x200
DEGRADED_OUTLIER_DETECTION: Final = 0x400
HEALTH_FLAG_TEXT: Final[list[tuple[int, str]]] = [
    (FAILED_ACTIVE_HC, "/failed_active_hc"),
    (FAILED_OUTLIER_CHECK, "/failed_outlier_check"),
    (FAILED_EDS_HEALTH, "/failed_eds_health"),
    (DEGRADED_ACTIVE_HC, "/degraded_active_hc"),
    (DEGRADED_EDS_HEALTH, "/degraded_eds_health"),
    (PENDING_DYNAMIC_REMOVAL, "/pending_dynamic_removal"),
    (PENDING_ACTIVE_HC, "/pending_active_hc"),
    (EXCLUDED_VIA_IMMEDIATE_HC_FAIL, "/excluded_via_immediate_hc_fail"),
    (ACTIVE_HC_TIMEOUT, "/active_hc_timeout"),
    (EDS_STATUS_DRAINING, "/eds_status_draining"),
    (DEGRADED_OUTLIER_DETECTION, "/degraded_outlier_detection"),
]
_UNHEALTHY: Final = FAILED_ACTIVE_HC | FAILED_OUTLIER_CHECK | FAILED_EDS_HEALTH | EDS_STATUS_DRAINING
_DEGRADED: Final = DEGRADED_ACTIVE_HC | DEGRADED_EDS_HEALTH | DEGRADED_OUTLIER_DETECTION
_EXCLUDED: Final = PENDING_ACTIVE_HC | EXCLUDED_VIA_IMMEDIATE_HC_FAIL | EDS_STATUS_DRAINING

# Coarse health.
UNHEALTHY: Final = 0
DEGRADED: Final = 1
HEALTHY: Final = 2


def coarse_health(flags: int) -> int:
    """UNHEALTHY, DEGRADED or HEALTHY, of a set of health flags."""
    if flags & _UNHEALTHY:
        return UNHEALTHY
    return DEGRADED if flags & _DEGRADED else HEALTHY


def excluded(flags: int) -> bool:
    """Whether a host with these flags is left out of all computations of health and panic."""
    return (flags & _EXCLUDED) != 0


def health_flags_text(flags: int) -> str:
    """As in /clusters: `healthy`, or the flags' names joined."""
    text = "".join([name for bit, name in HEALTH_FLAG_TEXT if flags & bit])
    return text or "healthy"


class Locality:
    """Where a host is."""

    __slots__ = ("region", "zone", "sub_zone", "key")

    def __init__(self, region: str = "", zone: str = "", sub_zone: str = "") -> None:
        self.region: str = region
        self.zone: str = zone
        self.sub_zone: str = sub_zone
        self.key: tuple[str, str, str] = (region, zone, sub_zone)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Locality) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return "Locality(" + "/".join(self.key) + ")"


NO_LOCALITY: Final = Locality()


class HostStats:
    """Numbers of one host (`/clusters`); in the stats store only with `per_endpoint_stats`."""

    __slots__ = (
        "cx_connect_fail",
        "cx_total",
        "rq_error",
        "rq_success",
        "rq_timeout",
        "rq_total",
        "cx_active",
        "rq_active",
        "rq_pending_active",
    )

    def __init__(self, scope: Scope | None = None) -> None:
        if scope is None:
            self.cx_connect_fail: Counter = Counter("cx_connect_fail")
            self.cx_total: Counter = Counter("cx_total")
            self.rq_error: Counter = Counter("rq_error")
            self.rq_success: Counter = Counter("rq_success")
            self.rq_timeout: Counter = Counter("rq_timeout")
            self.rq_total: Counter = Counter("rq_total")
            self.cx_active: Gauge = Gauge("cx_active")
            self.rq_active: Gauge = Gauge("rq_active")
            self.rq_pending_active: Gauge = Gauge("rq_pending_active")
        else:
            self.cx_connect_fail = scope.counter("cx_connect_fail")
            self.cx_total = scope.counter("cx_total")
            self.rq_error = scope.counter("rq_error")
            self.rq_success = scope.counter("rq_success")
            self.rq_timeout = scope.counter("rq_timeout")
            self.rq_total = scope.counter("rq_total")
            self.cx_active = scope.gauge("cx_active")
            self.rq_active = scope.gauge("rq_active")
            self.rq_pending_active = scope.gauge("rq_pending_active")

    def plain(self) -> tuple[int, int, int, int, int, int, int, int, int]:
        """In the order of `/clusters`: cx_active, cx_connect_fail, cx_total, rq_active, rq_error, rq_pending_active,
        rq_success, rq_timeout, rq_total."""
        return (
            self.cx_active.value,
            self.cx_connect_fail.value,
            self.cx_total.value,
            self.rq_active.value,
            self.rq_error.value,
            self.rq_pending_active.value,
            self.rq_success.value,
            self.rq_timeout.value,
            self.rq_total.value,
        )


# Results told to outlier detection (Envoy's `Outlier::Result`).
LOCAL_ORIGIN_TIMEOUT: Final = 0
LOCAL_ORIGIN_CONNECT_FAILED: Final = 1
LOCAL_ORIGIN_CONNECT_SUCCESS: Final = 2
LOCAL_ORIGIN_CONNECT_SUCCESS_FINAL: Final = 3
EXT_ORIGIN_REQUEST_FAILED: Final = 4
EXT_ORIGIN_REQUEST_SUCCESS: Final = 5


@mypyc_attr(allow_interpreted_subclasses=True)
class OutlierMonitor:
    """Takes what happened on a host. This base class is that of clusters without outlier detection: it ignores all."""

    # False: callers may skip the calls.
    active: bool = False

    def put_http_response_code(self, code: int) -> None:
        """A response with this status came from the host."""

    def put_result(self, result: int, code: int = 0) -> None:
        """One of LOCAL_ORIGIN_*, EXT_ORIGIN_*; `code` (0 = none) replaces the result's own mapping to a status."""

    def put_degraded(self) -> None:
        """A response said that the host is degraded (`x-envoy-degraded`)."""

    def success_rate(self) -> float:
        """Per cent over the last interval, -1 when unknown (main process)."""
        return -1.0

    def local_origin_success_rate(self) -> float:
        return -1.0


NO_MONITOR: Final = OutlierMonitor()


class Host:
    """One endpoint. Identity lasts over updates: an update changes attributes in place while the address stays."""

    __slots__ = (
        "cluster",
        "address",
        "addresses",
        "hostname",
        "weight",
        "locality",
        "priority",
        "metadata",
        "locality_metadata",
        "canary",
        "health_flags",
        "health",
        "stats",
        "outlier",
        "transport_socket_factory",
        "http_pools",
        "tcp_pools",
        "http_pool_default",
        "connection_limit",
        "created_ms",
        "last_healthy_ms",
        "removed",
        "key",
        "alpn_protocol",
        "endpoint_name",
    )

    def __init__(
        self, cluster: ClusterInfo, address: Address, transport_socket_factory: TransportSocketFactory
    ) -> None:
        self.cluster = cluster
        self.address = address
        # All addresses of a happy-eyeballs host, the first being `address`; empty when there is just one.
        self.addresses: list[Address] = []
        # Name that was resolved, or the endpoint's `hostname`; else empty.
        self.hostname: str = ""
        self.weight: int = 1
        self.locality: Locality = NO_LOCALITY
        self.priority: int = 0
        # `filter_metadata` by namespace.
        self.metadata: dict[str, dict[str, object]] = {}
        self.locality_metadata: dict[str, dict[str, object]] = {}
        # Responses of this host count as `canary.` (metadata envoy.lb: {canary: true}).
        self.canary: bool = False
        self.health_flags: int = 0
        self.health: int = HEALTHY
        self.stats: HostStats = HostStats(None)
        self.outlier: OutlierMonitor = NO_MONITOR
        self.transport_socket_factory: TransportSocketFactory = transport_socket_factory
        # Pools by key, one per priority, protocol and transport socket options.
        self.http_pools: dict[str, HttpConnPool] = {}
        self.tcp_pools: dict[str, TcpConnPool] = {}
        # The pool of priority DEFAULT without options: the usual case, found without a dict.
        self.http_pool_default: HttpConnPool | None = None
        # `per_host_thresholds`; None = unlimited.
        self.connection_limit: Resource | None = None
        self.created_ms: int = 0
        # Start of slow start: when it was added or last turned healthy.
        self.last_healthy_ms: int = 0
        # No longer in the cluster: pools drain.
        self.removed: bool = False
        # Identity within the cluster.
        self.key: str = address.text
        # ALPN result seen last, for pools that decide the protocol by it.
        self.alpn_protocol: str = ""
        self.endpoint_name: str = ""

    def set_health_flags(self, flags: int) -> None:
        self.health_flags = flags
        self.health = coarse_health(flags)

    def can_create_connection(self, priority: int) -> bool:
        """Whether the circuit breakers of the cluster and of the host allow one more connection."""
        limit = self.connection_limit
        if limit is not None and not limit.can_create():
            return False
        return self.cluster.resource_manager(priority).connections.can_create()

    def __repr__(self) -> str:
        return f"<Host {self.address.text} {health_flags_text(self.health_flags)}>"
