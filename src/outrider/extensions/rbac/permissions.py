"""Permissions: what a request or connection asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.data.address import KIND_IP, Address
from outrider.extensions.rbac.conditions import Condition, ConditionParser, Subject
from outrider.matching.cidr import CidrList, parse_cidr_range
from outrider.matching.string_matcher import StringMatcher, parse_string_matcher
from outrider.matching.value_matcher import filter_state_object
from outrider.registry import ExtensionRegistry
from outrider.router.config.match_loader import load_template
from outrider.router.config.uri_template import UriTemplate

if TYPE_CHECKING:
    from outrider.config.view import View

# `Permission.matcher`
RBAC_MATCHERS: Final[ExtensionRegistry[Condition]] = ExtensionRegistry("envoy.rbac.matchers")
UPSTREAM_ADDRESS: Final = "envoy.stream.upstream_address"


class DestinationIp(Condition):
    def __init__(self, ranges: CidrList) -> None:
        self.ranges = ranges

    def matches(self, subject: Subject) -> bool:
        return self.ranges.contains(subject.info.connection.local_address)


class DestinationPort(Condition):
    """The port in [start, end)."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end

    def matches(self, subject: Subject) -> bool:
        address = subject.info.connection.local_address
        return address.kind == KIND_IP and self.start <= address.port < self.end


class ServerName(Condition):
    """SNI."""

    def __init__(self, matcher: StringMatcher) -> None:
        self.matcher = matcher

    def matches(self, subject: Subject) -> bool:
        return self.matcher.matches(subject.connection.requested_server_name.encode("latin-1", "replace"))


class Template(Condition):
    """`uri_template`: the path without query and fragment."""

    def __init__(self, template: UriTemplate) -> None:
        self.template = template

    def matches(self, subject: Subject) -> bool:
        path = subject.headers.path
        for mark in (b"?", b"#"):
            end = path.find(mark)
            if end >= 0:
                path = path[:end]
        return bool(path) and self.template.matches(path)


class UpstreamIpPort(Condition):
    """The upstream address that a filter before has resolved."""

    def __init__(self, ranges: CidrList | None, ports: tuple[int, int] | None) -> None:
        self.ranges: CidrList | None = ranges
        self.ports: tuple[int, int] | None = ports

    def matches(self, subject: Subject) -> bool:
        address = filter_state_object(subject.info, UPSTREAM_ADDRESS)
        if not isinstance(address, Address) or address.kind != KIND_IP:
            return False
        if self.ranges is not None and not self.ranges.contains(address):
            return False
        return self.ports is None or self.ports[0] <= address.port < self.ports[1]


class PermissionParser(ConditionParser):
    oneof = "rule"
    members = "rules"

    def parse_own(self, view: View, kind: str, inner: View | None) -> Condition:
        if inner is None:
            port = view.integer("destination_port")
            return DestinationPort(port, port + 1)
        if kind == "destination_ip":
            return DestinationIp(CidrList([parse_cidr_range(inner)]))
        if kind == "destination_port_range":
            return DestinationPort(*_port_range(inner))
        if kind == "requested_server_name":
            return ServerName(parse_string_matcher(inner, self.context))
        if kind == "uri_template":
            return Template(load_template(inner))
        assert kind == "matcher", kind
        return RBAC_MATCHERS.create(inner, self.context)


def _port_range(view: View) -> tuple[int, int]:
    start, end = view.integer("start"), view.integer("end")
    for what, port in (("start", start), ("end", end)):
        if not 0 <= port <= 65536:
            raise view.error(f"range {what} {port} is out of bounds", what)
    if start >= end:
        raise view.error(f"range start {start} cannot be greater or equal than range end {end}")
    return start, end


@RBAC_MATCHERS.register(
    "envoy.rbac.matchers.upstream_ip_port", "envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher"
)
def create_upstream_ip_port(config: View, context: Any) -> Condition:
    """Raises ConfigError."""
    address = config.message("upstream_ip")
    ports = config.message("upstream_port_range")
    if address is None and ports is None:
        raise config.error(
            "Invalid UpstreamIpPortMatcher configuration - missing `upstream_ip` and/or `upstream_port_range`"
        )
    return UpstreamIpPort(
        None if address is None else CidrList([parse_cidr_range(address)]),
        None if ports is None else (ports.integer("start"), ports.integer("end")),
    )
