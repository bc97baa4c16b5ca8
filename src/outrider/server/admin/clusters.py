"""/clusters: every cluster and host, with the numbers of all workers added up."""

from __future__ import annotations

from typing import Any, Final

from outrider.config import api
from outrider.config.dump import to_json_text
from outrider.server.admin.listeners import address_tree
from outrider.server.admin.request import JSON, AdminRequest, AdminResponse
from outrider.server.admin.state import AdminState
from outrider.stats.policy import compile_re2
from outrider.upstream.cluster_info import ClusterInfo
from outrider.upstream.control.cluster_control import ClusterControl
from outrider.upstream.control.control_host import ControlHost
from outrider.upstream.host import (
    ACTIVE_HC_TIMEOUT,
    DEGRADED,
    DEGRADED_ACTIVE_HC,
    DEGRADED_EDS_HEALTH,
    DEGRADED_OUTLIER_DETECTION,
    EDS_STATUS_DRAINING,
    EXCLUDED_VIA_IMMEDIATE_HC_FAIL,
    FAILED_ACTIVE_HC,
    FAILED_EDS_HEALTH,
    FAILED_OUTLIER_CHECK,
    HEALTHY,
    PENDING_ACTIVE_HC,
    PENDING_DYNAMIC_REMOVAL,
    UNHEALTHY,
    health_flags_text,
)

# Coarse health -> `HealthStatus` of a dump.
_EDS_HEALTH: Final = {HEALTHY: 1, UNHEALTHY: 2, DEGRADED: 5}

# In the order of `HostStats.plain`.
STAT_NAMES: Final = (
    "cx_active", "cx_connect_fail", "cx_total", "rq_active", "rq_error", "rq_pending_active", "rq_success",
    "rq_timeout", "rq_total",
)  # fmt: skip
# JSON has counters first, then gauges, each by name.
_COUNTERS: Final = ("cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total")
_GAUGES: Final = ("cx_active", "rq_active", "rq_pending_active")
_NOTHING: Final = (0,) * len(STAT_NAMES)
_HEALTH_FIELDS: Final = (
    (FAILED_ACTIVE_HC, "failed_active_health_check"),
    (FAILED_OUTLIER_CHECK, "failed_outlier_check"),
    (DEGRADED_ACTIVE_HC, "failed_active_degraded_check"),
    (PENDING_DYNAMIC_REMOVAL, "pending_dynamic_removal"),
    (PENDING_ACTIVE_HC, "pending_active_hc"),
    (EXCLUDED_VIA_IMMEDIATE_HC_FAIL, "excluded_via_immediate_hc_fail"),
    (ACTIVE_HC_TIMEOUT, "active_hc_timeout"),
    (DEGRADED_OUTLIER_DETECTION, "failed_degraded_outlier_detection"),
)


class ClusterDump:
    """One cluster as the admin interface shows it."""

    def __init__(self, info: ClusterInfo, control: ClusterControl | None) -> None:
        self.info = info
        self.name: str = info.name
        self.hosts: list[ControlHost] = list(control.hosts.values()) if control is not None else []
        known = control.assignment if control is not None else info.config.assignment
        self.locality_weights = known.locality_weights
        self.overprovisioning_factor: int = known.overprovisioning_factor

    def load_assignment(self) -> Any:
        """The hosts as a `ClusterLoadAssignment` (`/config_dump?include_eds`)."""
        assignment: Any = api.new("envoy.config.endpoint.v3.ClusterLoadAssignment")
        assignment.cluster_name = self.name
        groups: dict[tuple[int, tuple[str, str, str]], Any] = {}
        for host in self.hosts:
            group = groups.get((host.priority, host.locality))
            if group is None:
                group = groups[host.priority, host.locality] = assignment.endpoints.add()
                group.priority = host.priority
                region, zone, sub_zone = host.locality
                weight = self.locality_weights.get((host.priority, region, zone, sub_zone), 0)
                group.load_balancing_weight.value = weight
                group.locality.region, group.locality.zone, group.locality.sub_zone = region, zone, sub_zone
            endpoint = group.lb_endpoints.add()
            endpoint.load_balancing_weight.value = host.weight
            endpoint.endpoint.hostname = host.hostname
            socket_address = endpoint.endpoint.address.socket_address
            socket_address.address, socket_address.port_value = host.address.host, host.address.port
            endpoint.endpoint.health_check_config.SetInParent()
            endpoint.health_status = _EDS_HEALTH[host.health()]
            for namespace, values in host.metadata.items():
                endpoint.metadata.filter_metadata[namespace].update(values)
        assignment.policy.overprovisioning_factor.value = self.overprovisioning_factor
        return assignment


class ClusterHandlers:
    def __init__(self, state: AdminState) -> None:
        self.state = state

    async def clusters(self, request: AdminRequest) -> AdminResponse:
        text = request.get("filter")
        pattern: Any = None
        if text is not None:
            try:
                pattern = compile_re2(text)
            except ValueError:
                return AdminResponse("Invalid re2 regex", 400)
        numbers = add_up(await self.state.host_stats())
        dumps = [each for each in self.state.cluster_dumps() if pattern is None or pattern.search(each.name)]
        if request.get("format") == "json":
            statuses = [status_tree(each, numbers.get(each.name, {})) for each in dumps]
            return AdminResponse(
                to_json_text({"cluster_statuses": statuses} if statuses else {}) + "\n", content_type=JSON
            )
        return AdminResponse("".join([status_text(each, numbers.get(each.name, {})) for each in dumps]))


def add_up(answers: list[Any]) -> dict[str, dict[str, tuple[int, ...]]]:
    """cluster -> host key -> numbers, summed over workers."""
    total: dict[str, dict[str, tuple[int, ...]]] = {}
    for answer in answers:
        for name, hosts in answer.items():
            known = total.setdefault(name, {})
            for key, numbers in hosts.items():
                before = known.get(key, _NOTHING)
                known[key] = tuple([one + other for one, other in zip(before, numbers, strict=True)])
    return total


def thresholds(info: ClusterInfo) -> list[tuple[str, list[tuple[str, int]]]]:
    """Circuit breakers by priority."""
    found = []
    for name, each in zip(("default", "high"), info.resources, strict=True):
        limits = [
            ("max_connections", each.connections.max),
            ("max_pending_requests", each.pending_requests.max),
            ("max_requests", each.requests.max),
            ("max_retries", each.retries.limit()),
        ]
        found.append((name, limits))
    return found


OUTLIER_RATES: Final = (
    "success_rate_average",
    "success_rate_ejection_threshold",
    "local_origin_success_rate_average",
    "local_origin_success_rate_ejection_threshold",
)


def rate_text(value: float) -> str:
    return f"{value:g}"


def status_text(dump: ClusterDump, numbers: dict[str, tuple[int, ...]]) -> str:
    """The lines of one cluster."""
    info = dump.info
    name = dump.name
    lines = [f"{name}::observability_name::{info.observability_name}"]
    if info.outlier_rates is not None:
        lines += [
            f"{name}::outlier::{rate}::{rate_text(value)}"
            for rate, value in zip(OUTLIER_RATES, info.outlier_rates, strict=True)
        ]
    for priority, limits in thresholds(info):
        lines += [f"{name}::{priority}_priority::{limit}::{value}" for limit, value in limits]
    lines.append(f"{name}::added_via_api::{'true' if info.added_via_api else 'false'}")
    if info.config.eds_service_name:
        lines.append(f"{name}::eds_service_name::{info.config.eds_service_name}")
    for host in dump.hosts:
        prefix = f"{name}::{host.address.text}::"
        counted = numbers.get(host.key, _NOTHING)
        lines += [f"{prefix}{stat}::{value}" for stat, value in zip(STAT_NAMES, counted, strict=True)]
        region, zone, sub_zone = host.locality
        lines += [
            f"{prefix}hostname::{host.hostname}",
            f"{prefix}health_flags::{health_flags_text(host.flags)}",
            f"{prefix}weight::{host.weight}",
            f"{prefix}region::{region}",
            f"{prefix}zone::{zone}",
            f"{prefix}sub_zone::{sub_zone}",
            f"{prefix}canary::{'true' if is_canary(host) else 'false'}",
            f"{prefix}priority::{host.priority}",
            f"{prefix}success_rate::{rate_text(host.success_rate)}",
            f"{prefix}local_origin_success_rate::{rate_text(host.local_origin_success_rate)}",
        ]
    return "\n".join(lines) + "\n"


def is_canary(host: ControlHost) -> bool:
    return host.metadata.get("envoy.lb", {}).get("canary") is True


def status_tree(dump: ClusterDump, numbers: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """`envoy.admin.v3.ClusterStatus` in JSON."""
    info = dump.info
    tree: dict[str, Any] = {"name": dump.name}
    if info.added_via_api:
        tree["added_via_api"] = True
    hosts = [host_tree(host, numbers.get(host.key, _NOTHING)) for host in dump.hosts]
    if hosts:
        tree["host_statuses"] = hosts
    breakers = []
    for priority, limits in thresholds(info):
        breaker: dict[str, Any] = {"priority": "HIGH"} if priority == "high" else {}
        breaker.update(dict(limits))
        breakers.append(breaker)
    tree["circuit_breakers"] = {"thresholds": breakers}
    tree["observability_name"] = info.observability_name
    if info.config.eds_service_name:
        tree["eds_service_name"] = info.config.eds_service_name
    return tree


def host_tree(host: ControlHost, counted: tuple[int, ...]) -> dict[str, Any]:
    """`envoy.admin.v3.HostStatus` in JSON."""
    values = dict(zip(STAT_NAMES, counted, strict=True))
    stats: list[dict[str, Any]] = []
    for stat in _COUNTERS:
        stats.append({"value": str(values[stat]), "name": stat} if values[stat] else {"name": stat})
    for stat in _GAUGES:
        tree = {"type": "GAUGE", "value": str(values[stat]), "name": stat}
        if not values[stat]:
            del tree["value"]
        stats.append(tree)
    health: dict[str, Any] = {field: True for flag, field in _HEALTH_FIELDS if host.flags & flag}
    if host.flags & EDS_STATUS_DRAINING:
        health["eds_health_status"] = "DRAINING"
    elif host.flags & FAILED_EDS_HEALTH:
        health["eds_health_status"] = "UNHEALTHY"
    else:
        health["eds_health_status"] = "DEGRADED" if host.flags & DEGRADED_EDS_HEALTH else "HEALTHY"
    result: dict[str, Any] = {"address": address_tree(host.address), "stats": stats, "health_status": health}
    if host.success_rate >= 0:
        result["success_rate"] = {"value": host.success_rate}
    result["weight"] = host.weight
    if host.hostname:
        result["hostname"] = host.hostname
    if host.priority:
        result["priority"] = host.priority
    if host.local_origin_success_rate >= 0:
        result["local_origin_success_rate"] = {"value": host.local_origin_success_rate}
    region, zone, sub_zone = host.locality
    result["locality"] = {
        key: value for key, value in (("region", region), ("zone", zone), ("sub_zone", sub_zone)) if value
    }
    return result
