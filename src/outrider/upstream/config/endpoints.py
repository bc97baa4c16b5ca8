"""`ClusterLoadAssignment`: the endpoints of a cluster, not yet resolved."""

from __future__ import annotations

import ipaddress
from typing import Final

from outrider.config.view import View
from outrider.data.address import KIND_INTERNAL, KIND_IP, Address, pipe_address
from outrider.upstream.host import DEGRADED_EDS_HEALTH, EDS_STATUS_DRAINING, FAILED_EDS_HEALTH
from outrider.upstream.priority_set import DEFAULT_OVERPROVISIONING_FACTOR

# What `health_status` makes of a host.
STATUS_FLAGS: Final[dict[str, int]] = {
    "UNKNOWN": 0,
    "HEALTHY": 0,
    "UNHEALTHY": FAILED_EDS_HEALTH,
    "DRAINING": EDS_STATUS_DRAINING,
    "TIMEOUT": FAILED_EDS_HEALTH,
    "DEGRADED": DEGRADED_EDS_HEALTH,
}
_ADVICE: Final = "Consider setting resolver_name or setting cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'"


class EndpointAddress:
    """A socket address as configured: an IP literal, or a name yet to be resolved. `host` empty: a Unix socket."""

    __slots__ = ("host", "port", "pipe", "internal", "protocol", "path", "resolver_name", "named_port", "_literal")

    def __init__(self) -> None:
        self.host: str = ""
        self.port: int = 0
        self.pipe: str = ""
        # Name of an internal listener.
        self.internal: str = ""
        self.protocol: str = "TCP"
        # For messages.
        self.path: str = ""
        self.resolver_name: str = ""
        self.named_port: str = ""
        self._literal: Address | None = None

    def literal(self) -> Address | None:
        """The address, None when it is a name."""
        if self._literal is None:
            self._literal = self._parse()
        return self._literal

    def _parse(self) -> Address | None:
        if self.pipe:
            return pipe_address(self.pipe)
        if self.internal:
            return Address(KIND_INTERNAL, self.internal, 0)
        try:
            parsed = ipaddress.ip_address(self.host.partition("%")[0])
        except ValueError:
            return None
        return Address(KIND_IP, self.host if "%" in self.host else str(parsed), self.port, self.protocol)

    def at(self, ip: str) -> Address:
        """The resolved address."""
        return Address(KIND_IP, ip, self.port, self.protocol)


class EndpointConfig:
    """One `LbEndpoint` with what its locality gives it."""

    __slots__ = (
        "address", "additional", "hostname", "weight", "health_flags", "metadata", "locality", "locality_metadata",
        "priority", "hc_port", "hc_hostname", "hc_address", "hc_disabled", "view",
    )

    def __init__(self, address: EndpointAddress, view: View) -> None:
        self.address = address
        self.additional: list[EndpointAddress] = []
        self.hostname: str = ""
        self.weight: int = 1
        self.health_flags: int = 0
        self.metadata: dict[str, dict[str, object]] = {}
        self.locality: tuple[str, str, str] = ("", "", "")
        self.locality_metadata: dict[str, dict[str, object]] = {}
        self.priority: int = 0
        # `health_check_config`
        self.hc_port: int = 0
        self.hc_hostname: str = ""
        self.hc_address: EndpointAddress | None = None
        self.hc_disabled: bool = False
        self.view = view


class LoadAssignment:
    """All endpoints, localities and the policy."""

    __slots__ = (
        "endpoints", "locality_weights", "overprovisioning_factor", "weighted_priority_health", "drop_overload",
        "drop_category", "locality_count", "stale_after_ms",
    )

    def __init__(self) -> None:
        self.endpoints: list[EndpointConfig] = []
        # (priority, region, zone, sub-zone) -> weight
        self.locality_weights: dict[tuple[int, str, str, str], int] = {}
        self.overprovisioning_factor: int = DEFAULT_OVERPROVISIONING_FACTOR
        self.weighted_priority_health: bool = False
        # Per cent, 0 to 100.
        self.drop_overload: float = 0.0
        self.drop_category: str = ""
        self.locality_count: int = 0
        # EDS: the endpoints are dropped when no further word came for so long; 0 = never.
        self.stale_after_ms: int = 0


def read_metadata(view: View | None) -> dict[str, dict[str, object]]:
    """`filter_metadata` of a `core.v3.Metadata`."""
    return {} if view is None else view.struct_map("filter_metadata")


def read_locality(view: View | None) -> tuple[str, str, str]:
    return ("", "", "") if view is None else (view.text("region"), view.text("zone"), view.text("sub_zone"))


def read_address(view: View | None, parent: View, field: str) -> EndpointAddress:
    """An `Address` of an endpoint; raises ConfigError when there is none."""
    if view is None or view.which("address") is None:
        raise parent.error(f"Address must be set. {_ADVICE}", field)
    address = EndpointAddress()
    address.path = view.path
    kind = view.which("address")
    if kind == "pipe":
        pipe = view.message("pipe")
        assert pipe is not None
        # The mode concerns sockets that are made, not those that are connected to.
        pipe.accept("mode")
        address.pipe = pipe.text("path")
    elif kind == "envoy_internal_address":
        inside = view.message("envoy_internal_address")
        assert inside is not None
        address.internal = f"{inside.text('server_listener_name')}/{inside.text('endpoint_id')}"
    elif kind == "socket_address":
        given = view.message("socket_address")
        assert given is not None
        address.host = given.text("address")
        address.protocol = given.enum("protocol")
        address.port = given.integer("port_value")
        address.named_port = given.text("named_port")
        address.resolver_name = given.text("resolver_name")
        # Without effect on an address that is connected to.
        given.accept("ipv4_compat")
    return address


def _read_endpoint(view: View, locality: View) -> EndpointConfig:
    if view.which("host_identifier") == "endpoint_name":
        raise view.error(f"Address must be set. {_ADVICE}", "endpoint_name")
    endpoint = view.message("endpoint")
    if endpoint is None:
        raise view.error(f"Address must be set. {_ADVICE}", "endpoint")
    config = EndpointConfig(read_address(endpoint.message("address"), endpoint, "address"), endpoint)
    for additional in endpoint.messages("additional_addresses"):
        config.additional.append(read_address(additional.message("address"), additional, "address"))
    config.hostname = endpoint.text("hostname")
    checks = endpoint.message("health_check_config")
    if checks is not None:
        config.hc_port = checks.integer("port_value")
        config.hc_hostname = checks.text("hostname")
        config.hc_disabled = checks.flag("disable_active_health_check")
        if checks.has("address"):
            config.hc_address = read_address(checks.message("address"), checks, "address")
    config.weight = view.integer("load_balancing_weight", 1)
    config.health_flags = STATUS_FLAGS.get(view.enum("health_status"), 0)
    config.metadata = read_metadata(view.message("metadata"))
    config.locality = read_locality(locality.message("locality"))
    config.locality_metadata = read_metadata(locality.message("metadata"))
    config.priority = locality.integer("priority")
    return config


def read_load_assignment(view: View | None) -> LoadAssignment:
    """Raises ConfigError for endpoints without address."""
    assignment = LoadAssignment()
    if view is None:
        return assignment
    # Any name is taken: it matters to EDS only.
    view.text("cluster_name")
    for locality in view.messages("endpoints"):
        assignment.locality_count += 1
        region, zone, sub_zone = read_locality(locality.message("locality"))
        priority = locality.integer("priority")
        weight = locality.integer("load_balancing_weight")
        if weight:
            assignment.locality_weights[(priority, region, zone, sub_zone)] = weight
        # Documented, and not used by any balancer of Envoy either.
        locality.accept("proximity")
        endpoints = locality.messages("lb_endpoints")
        inline = locality.message("load_balancer_endpoints")
        if inline is not None:
            endpoints = endpoints + inline.messages("lb_endpoints")
        for endpoint in endpoints:
            assignment.endpoints.append(_read_endpoint(endpoint, locality))
    policy = view.message("policy")
    if policy is not None:
        _read_policy(policy, assignment)
    return assignment


def _read_policy(policy: View, assignment: LoadAssignment) -> None:
    assignment.overprovisioning_factor = policy.integer("overprovisioning_factor", DEFAULT_OVERPROVISIONING_FACTOR)
    assignment.weighted_priority_health = policy.flag("weighted_priority_health")
    assignment.stale_after_ms = policy.millis("endpoint_stale_after") or 0
    drops = policy.messages("drop_overloads")
    if len(drops) > 1:
        raise policy.error(
            f"Cluster drop_overloads config has {len(drops)} categories. Envoy only support one.", "drop_overloads"
        )
    for drop in drops:
        assignment.drop_category = drop.text("category")
        percentage = drop.message("drop_percentage")
        if percentage is not None:
            scale = {"HUNDRED": 1.0, "TEN_THOUSAND": 100.0, "MILLION": 10_000.0}[percentage.enum("denominator")]
            assignment.drop_overload = min(100.0, percentage.integer("numerator") / scale)


def malformed_ip(address: EndpointAddress) -> str:
    """What Envoy says of a name where an IP address is needed."""
    if address.named_port:
        return f"IP resolver can't handle port specifier type 4. {_ADVICE}"
    return f"malformed IP address: {address.host}. {_ADVICE}"
