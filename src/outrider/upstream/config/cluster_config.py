"""A `Cluster` message as settings: immutable after `from_view`, times in milliseconds, 0 = none."""

from __future__ import annotations

from typing import Final

from outrider.config.view import View
from outrider.http.http1.settings import Http1Settings
from outrider.http.http2.settings import Http2Settings
from outrider.upstream.cluster_info import UPSTREAM_HTTP1, UPSTREAM_HTTP2
from outrider.upstream.cluster_type import CLUSTER_TYPES, ClusterType, ClusterTypeContext
from outrider.upstream.config.bind import read_bind
from outrider.upstream.config.circuit_breakers import read_per_host_limit, read_thresholds
from outrider.upstream.config.dns_settings import DnsSettings, accept_unused_dns, read_cluster_dns, read_dns_cluster
from outrider.upstream.config.endpoints import LoadAssignment, malformed_ip, read_load_assignment, read_metadata
from outrider.upstream.config.health_check import KIND_GRPC, HealthCheckConfig, read_health_checks
from outrider.upstream.config.http_options import (
    DEFAULT_IDLE_TIMEOUT_MS,
    DEFAULT_MAX_HEADERS_COUNT,
    DEFAULT_MAX_RESPONSE_HEADERS_KB,
    DEFAULT_TCP_IDLE_TIMEOUT_MS,
    read_http_options,
)
from outrider.upstream.config.lb_policy import LbPolicy, read_lb_policy
from outrider.upstream.config.outlier import OutlierConfig, read_outlier
from outrider.upstream.load_balancer.base import CommonLbSettings
from outrider.upstream.resource_manager import UNLIMITED, Thresholds
from outrider.upstream.upstream_bind import UpstreamBind, plain_bind

STATIC: Final = "STATIC"
STRICT_DNS: Final = "STRICT_DNS"
LOGICAL_DNS: Final = "LOGICAL_DNS"
EDS: Final = "EDS"
ORIGINAL_DST: Final = "ORIGINAL_DST"
# `cluster_type`, other than the DNS cluster.
CUSTOM: Final = "CUSTOM"

DEFAULT_CONNECT_TIMEOUT_MS: Final = 5000
DEFAULT_BUFFER_LIMIT: Final = 1024 * 1024
_DNS_CLUSTER: Final = "envoy.extensions.clusters.dns.v3.DnsCluster"
_SMALL_STATUSES: Final = {"UNKNOWN", "HEALTHY", "DEGRADED"}


class ClusterDefaults:
    """What the bootstrap says for all clusters."""

    __slots__ = ("bind", "dns_resolver")

    def __init__(self, bind: View | None = None, dns_resolver: View | None = None) -> None:
        # `cluster_manager.upstream_bind_config`
        self.bind = bind
        # `typed_dns_resolver_config`, or the older `dns_resolution_config`
        self.dns_resolver = dns_resolver


class ClusterConfig:
    """All settings of one cluster. The defaults are those of an empty `Cluster`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.observability_name = name
        self.discovery: str = STATIC
        # Arguments of AUTH for connections of the Redis proxy (RedisProtocolOptions).
        self.redis_auth: list[bytes] | None = None
        # A cluster of a kind of its own (upstream.cluster_type).
        self.custom: ClusterType | None = None
        self.assignment: LoadAssignment = LoadAssignment()
        self.dns: DnsSettings | None = None
        # EDS: where endpoints come from, and by what name (empty: the cluster's).
        self.eds_source: View | None = None
        self.eds_service_name: str = ""
        self.connect_timeout_ms: int = DEFAULT_CONNECT_TIMEOUT_MS
        self.per_connection_buffer_limit: int = DEFAULT_BUFFER_LIMIT
        self.timeout_budgets: bool = False
        self.request_response_sizes: bool = False
        self.per_endpoint_stats: bool = False
        self.thresholds: list[Thresholds] = [Thresholds(), Thresholds()]
        self.per_host_max_connections: int = UNLIMITED
        # HTTP
        self.protocol_choice: int = UPSTREAM_HTTP1
        self.http1_settings: Http1Settings = Http1Settings()
        self.http2_settings: Http2Settings = Http2Settings()
        self.idle_timeout_ms: int = DEFAULT_IDLE_TIMEOUT_MS
        self.tcp_idle_timeout_ms: int = DEFAULT_TCP_IDLE_TIMEOUT_MS
        self.max_connection_duration_ms: int = 0
        # Per cent.
        self.max_connection_duration_jitter: float = 0.0
        self.max_stream_duration_ms: int = 0
        self.max_requests_per_connection: int = 0
        self.max_response_headers_kb: int = DEFAULT_MAX_RESPONSE_HEADERS_KB
        self.max_response_headers_count: int = DEFAULT_MAX_HEADERS_COUNT
        self.headers_with_underscores_action: str = "ALLOW"
        self.auto_sni: bool = False
        self.auto_san_validation: bool = False
        self.override_auto_sni_header: bytes = b""
        # Connections
        self.bind: UpstreamBind = plain_bind()
        self.set_local_interface_name: bool = False
        # Happy eyeballs: family to begin with (0 = as resolved, 4, 6) and how many of it.
        self.first_family: int = 0
        self.first_family_count: int = 1
        self.per_downstream_connection: bool = False
        self.per_upstream_preconnect_ratio: float = 1.0
        # Load balancing
        self.lb_policy: LbPolicy = LbPolicy("ROUND_ROBIN", CommonLbSettings())
        self.update_merge_window_ms: int = 1000
        self.ignore_new_hosts_until_first_hc: bool = False
        self.close_connections_on_host_set_change: bool = False
        self.override_host_statuses: set[str] = set(_SMALL_STATUSES)
        # Health
        self.health_checks: list[HealthCheckConfig] = []
        self.outlier_detection: OutlierConfig | None = None
        self.close_connections_on_health_failure: bool = False
        self.ignore_health_on_host_removal: bool = False
        self.wait_for_warm_on_init: bool = True
        self.metadata: dict[str, dict[str, object]] = {}

    @property
    def drop_overload(self) -> float:
        return self.assignment.drop_overload

    @property
    def drop_category(self) -> str:
        return self.assignment.drop_category

    @staticmethod
    def from_view(view: View, defaults: ClusterDefaults) -> ClusterConfig:
        """Read a Cluster, all but its transport sockets. Raises ConfigError."""
        config = ClusterConfig(view.text("name"))
        config.observability_name = view.text("alt_stat_name") or config.name
        _read_discovery(view, config, defaults)
        timeout = view.millis("connect_timeout")
        config.connect_timeout_ms = DEFAULT_CONNECT_TIMEOUT_MS if timeout is None else max(timeout, 1)
        config.per_connection_buffer_limit = view.integer("per_connection_buffer_limit_bytes", DEFAULT_BUFFER_LIMIT)
        _read_tracking(view, config)
        breakers = view.message("circuit_breakers")
        config.thresholds = read_thresholds(breakers)
        config.per_host_max_connections = read_per_host_limit(breakers)
        read_http_options(view, config)
        _read_connections(view, config, defaults)
        config.lb_policy = read_lb_policy(view, config.name, config.custom)
        _read_common_lb(view.message("common_lb_config"), config)
        config.health_checks = read_health_checks(view)
        if config.protocol_choice != UPSTREAM_HTTP2 and any(each.kind == KIND_GRPC for each in config.health_checks):
            raise view.error(f"{config.name} cluster must support HTTP/2 for gRPC healthchecking", "health_checks")
        config.outlier_detection = read_outlier(view.message("outlier_detection"))
        config.close_connections_on_health_failure = view.flag("close_connections_on_host_health_failure")
        config.ignore_health_on_host_removal = view.flag("ignore_health_on_host_removal")
        config.wait_for_warm_on_init = view.flag("wait_for_warm_on_init", True)
        # Only clusters that learn hosts from traffic clean up; the others do not, and Envoy ignores the field, too.
        view.accept("cleanup_interval")
        # Envoy takes any value and does nothing: what is reported is for `load_stats_config` and its server to say.
        view.accept("lrs_server")
        config.metadata = read_metadata(view.message("metadata"))
        return config


def _read_discovery(view: View, config: ClusterConfig, defaults: ClusterDefaults) -> None:
    if view.which("cluster_discovery_type") == "cluster_type":
        custom = view.message("cluster_type")
        assert custom is not None
        # The type of the configuration decides.
        name = custom.text("name")
        type_name = custom.any_type("typed_config")
        accept_unused_dns(view)
        if type_name == _DNS_CLUSTER:
            config.dns = read_dns_cluster(custom.any("typed_config"), defaults.dns_resolver)
            config.discovery = LOGICAL_DNS if config.dns.single_endpoint else STRICT_DNS
        else:
            factory = CLUSTER_TYPES.find(type_name)
            if factory is None:
                raise custom.error(f"cluster type {name!r} ({type_name}) is not supported by this version of outrider")
            given = ClusterTypeContext(view, config.name, defaults.dns_resolver)
            config.custom = factory(custom.any("typed_config"), given)
            config.discovery = CUSTOM
    else:
        config.discovery = view.enum("type")
        if config.discovery in (STRICT_DNS, LOGICAL_DNS):
            config.dns = read_cluster_dns(view, defaults.dns_resolver)
            config.dns.single_endpoint = config.discovery == LOGICAL_DNS
        elif config.discovery == STATIC:
            accept_unused_dns(view)
        elif config.discovery == ORIGINAL_DST:
            accept_unused_dns(view)
            known = CLUSTER_TYPES.find_by_name("envoy.cluster.original_dst")
            assert known is not None
            config.custom = known.factory(view, ClusterTypeContext(view, config.name, defaults.dns_resolver))
        elif config.discovery == EDS:
            accept_unused_dns(view)
            _read_eds(view, config)
        else:
            raise view.error(
                f"field 'type' is set to {config.discovery}, which is not supported by this version of outrider", "type"
            )
    if config.custom is not None and view.has("load_assignment") and not config.custom.takes_assignment:
        raise view.error(f"{config.custom.name} clusters must have no load assignment configured", "load_assignment")
    if config.discovery == EDS:
        return
    has_assignment = view.has("load_assignment")
    config.assignment = read_load_assignment(view.message("load_assignment"))
    if config.discovery == STATIC:
        for endpoint in config.assignment.endpoints:
            for address in (endpoint.address, *endpoint.additional):
                if address.named_port or address.literal() is None:
                    raise endpoint.view.error(malformed_ip(address), "address")
    elif config.custom is None and config.dns is not None:
        _check_dns_endpoints(view, config, has_assignment)


def _read_eds(view: View, config: ClusterConfig) -> None:
    eds = view.message("eds_cluster_config")
    if eds is None:
        raise view.error("cannot create an EDS cluster without an EDS config")
    config.eds_service_name = eds.text("service_name")
    config.eds_source = eds.message("eds_config")
    if config.eds_source is None:
        raise eds.error("cannot create an EDS cluster without an EDS config", "eds_config")
    if not config.eds_service_name and config.name.startswith("xdstp:"):
        raise view.error("CDS resource with xdstp name must have an EDS service name", "eds_cluster_config")
    # Endpoints come from elsewhere: Envoy does not look at those written here.
    view.accept("load_assignment")


def _check_dns_endpoints(view: View, config: ClusterConfig, has_assignment: bool) -> None:
    for endpoint in config.assignment.endpoints:
        if endpoint.address.resolver_name:
            raise endpoint.view.error(
                f"{config.discovery} clusters must NOT have a custom resolver name set", "address"
            )
    if config.discovery == LOGICAL_DNS:
        if not has_assignment:
            raise view.error("LOGICAL_DNS clusters must have a single host")
        if config.assignment.locality_count != 1 or len(config.assignment.endpoints) != 1:
            raise view.error(
                "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint",
                "load_assignment",
            )


def _read_tracking(view: View, config: ClusterConfig) -> None:
    track = view.message("track_cluster_stats")
    if track is not None:
        config.timeout_budgets = track.flag("timeout_budgets")
        config.request_response_sizes = track.flag("request_response_sizes")
        config.per_endpoint_stats = track.flag("per_endpoint_stats")
    if view.flag("track_timeout_budgets"):
        config.timeout_budgets = True


def _read_connections(view: View, config: ClusterConfig, defaults: ClusterDefaults) -> None:
    options = view.message("upstream_connection_options")
    config.bind = read_bind(config.name, view.message("upstream_bind_config"), options, defaults.bind)
    if options is not None:
        config.set_local_interface_name = options.flag("set_local_interface_name_on_upstream_connections")
        eyeballs = options.message("happy_eyeballs_config")
        if eyeballs is not None:
            version = eyeballs.enum("first_address_family_version")
            config.first_family = {"V4": 4, "V6": 6}.get(version, 0)
            config.first_family_count = max(eyeballs.integer("first_address_family_count", 1), 1)
    config.per_downstream_connection = view.flag("connection_pool_per_downstream_connection")
    preconnect = view.message("preconnect_policy")
    if preconnect is not None:
        config.per_upstream_preconnect_ratio = preconnect.number("per_upstream_preconnect_ratio", 1.0)


def _read_common_lb(view: View | None, config: ClusterConfig) -> None:
    if view is None:
        return
    window = view.millis("update_merge_window")
    if window is not None:
        config.update_merge_window_ms = window
    config.ignore_new_hosts_until_first_hc = view.flag("ignore_new_hosts_until_first_hc")
    config.close_connections_on_host_set_change = view.flag("close_connections_on_host_set_change")
    statuses = view.message("override_host_status")
    if statuses is not None:
        config.override_host_statuses = set(statuses.enums("statuses"))
