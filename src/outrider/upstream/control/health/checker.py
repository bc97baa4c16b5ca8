"""One configured health checker over all hosts of a cluster: sessions, intervals, stats, events."""

from __future__ import annotations

import random as _random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from outrider.data.address import Address
from outrider.network.transport_socket import TransportSocketFactory, TransportSocketOptions
from outrider.upstream.config.health_check import KIND_GRPC, KIND_HTTP, HealthCheckConfig
from outrider.upstream.connector import Connector
from outrider.upstream.control.control_host import ControlHost
from outrider.upstream.control.event_log import EventLog, address_json, timestamp
from outrider.upstream.control.health.grpc_probe import GrpcProbe
from outrider.upstream.control.health.health_stats import HealthStats
from outrider.upstream.control.health.probe import HttpProbe, Probe, TcpProbe
from outrider.upstream.control.health.session import CHANGE_PENDING, HealthSession
from outrider.upstream.host import EXCLUDED_VIA_IMMEDIATE_HC_FAIL, Host
from outrider.upstream.transport_socket_matcher import TRANSPORT_SOCKET_MATCH

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext
    from outrider.upstream.cluster_info import ClusterInfo
    from outrider.upstream.control.health.checkers import HealthChecks

_MAX_INTERVAL: Final = 1 << 62


def _roll(limit: int) -> int:
    return _random.randrange(limit)


class HealthChecker:
    """See the module."""

    def __init__(
        self,
        owner: HealthChecks,
        config: HealthCheckConfig,
        info: ClusterInfo,
        stats: HealthStats,
        connector: Connector,
        context: FactoryContext,
        below: Callable[[int], int] = _roll,
    ) -> None:
        self.owner = owner
        self.config = config
        self.info = info
        self.stats = stats
        self.connector = connector
        self.dispatcher = connector.dispatcher
        self.runtime = context.runtime
        # A random whole number below its argument; tests give their own.
        self.below = below
        self.sessions: dict[str, HealthSession] = {}
        self.event_log = EventLog(context.access_log_manager, config.event_log_paths)
        self.socket_options: TransportSocketOptions | None = None
        if config.alpn:
            self.socket_options = TransportSocketOptions(alpn=tuple(config.alpn))
        self.secure: bool = info.transport_socket_factory.implements_secure_transport

    def make_probe(self, session: HealthSession) -> Probe:
        kind = self.config.kind
        if kind == KIND_GRPC:
            return GrpcProbe(session)
        return HttpProbe(session) if kind == KIND_HTTP else TcpProbe(session)

    # --- hosts ---

    def add(self, host: ControlHost) -> None:
        if host.key not in self.sessions and not host.hc_disabled:
            session = HealthSession(self, host)
            self.sessions[host.key] = session
            session.start()

    def remove(self, host: ControlHost) -> None:
        session = self.sessions.pop(host.key, None)
        if session is not None:
            session.stop()

    def stop(self) -> None:
        for session in self.sessions.values():
            session.stop()
        self.sessions.clear()

    def target(self, host: ControlHost) -> Host:
        """What to connect to."""
        address = host.hc_address
        if self.config.alt_port and address.port:
            address = Address(address.kind, address.host, self.config.alt_port, address.protocol)
        target = Host(self.info, address, self._socket_factory(host))
        target.hostname = host.hostname
        if address is host.address:
            target.addresses = host.addresses
        return target

    def _socket_factory(self, host: ControlHost) -> TransportSocketFactory:
        matcher = self.info.transport_socket_matcher
        criteria = self.config.match_criteria
        if criteria is not None:
            return matcher.resolve({TRANSPORT_SOCKET_MATCH: criteria}, {}, False)
        return matcher.resolve(host.metadata, host.locality_metadata, False)

    def authority(self, host: ControlHost) -> bytes:
        """The Host header: the endpoint's own, the configured one, or the cluster's name."""
        return (host.hc_hostname or self.config.host or self.info.name).encode()

    def exclude(self, host: ControlHost) -> None:
        host.set_flag(EXCLUDED_VIA_IMMEDIATE_HC_FAIL)

    def verifies_cluster(self) -> bool:
        return self.runtime.feature_enabled("health_check.verify_cluster", 100, self.below(100))

    # --- results ---

    def on_result(self, session: HealthSession, change: int, failed: bool) -> None:
        self.owner.on_result(self, session, change, failed)

    def interval_ms(self, healthy: bool, change: int) -> int:
        """Time to the next check, jitter included."""
        config = self.config
        pending = change == CHANGE_PENDING
        if self.info.stats.upstream_cx_total.used():
            if healthy:
                base = config.healthy_edge_interval_ms if pending else config.interval_ms
            else:
                base = config.unhealthy_edge_interval_ms if pending else config.unhealthy_interval_ms
        elif healthy and not pending:
            base = config.no_traffic_healthy_interval_ms
        else:
            base = config.no_traffic_interval_ms
        share = config.interval_jitter_percent * base // 100
        if share > 0:
            base += self.below(share)
        if config.interval_jitter_ms > 0:
            base += self.below(config.interval_jitter_ms)
        least = self.runtime.get_integer("health_check.min_interval", 1)
        most = self.runtime.get_integer("health_check.max_interval", _MAX_INTERVAL)
        return min(max(base, least), most)

    def log(self, host: ControlHost, event: dict[str, object]) -> None:
        """One line for the event log; `event` is the member of the oneof."""
        if not self.config.event_log_paths:
            return
        region, zone, sub_zone = host.locality
        line: dict[str, object] = {
            "health_checker_type": self.config.kind,
            "host": address_json(host.address),
            "cluster_name": self.info.name,
        }
        place: dict[str, object] = {
            "timestamp": timestamp(self.dispatcher.wall_ns()),
        }
        tail: dict[str, object] = {"locality": {"region": region, "zone": zone, "sub_zone": sub_zone}}
        if host.metadata:
            tail = {"metadata": {"filter_metadata": host.metadata, "typed_filter_metadata": {}}} | tail
        early = next(iter(event)) in ("eject_unhealthy_event", "add_healthy_event")
        self.event_log.write(line | event | place | tail if early else line | place | event | tail)
