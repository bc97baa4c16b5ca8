"""Load reports: how many requests went where, told to a management server at the interval that it names.

Source: Envoy's `LoadStatsReporter`; "Load Reporting Service (LRS)".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from outrider.config import api
from outrider.data.grpc_status import INTERNAL, OK
from outrider.grpc.client import GrpcClient, GrpcStream, GrpcStreamCallbacks

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
    from outrider.stats.store import Scope

_log: Final = logging.getLogger("outrider.upstream")
SERVICE: Final = "envoy.service.load_stats.v3.LoadReportingService"
METHOD: Final = "StreamLoadStats"
_REQUEST: Final = "envoy.service.load_stats.v3.LoadStatsRequest"
_RESPONSE: Final = "envoy.service.load_stats.v3.LoadStatsResponse"
_RETRY_S: Final = 5.0
_FEATURE: Final = "envoy.lrs.supports_send_all_clusters"


class HostLoad:
    """One host and its numbers so far, over all workers."""

    __slots__ = ("address", "error", "in_progress", "issued", "key", "locality", "priority", "success")

    def __init__(
        self, key: str, address: Any, locality: tuple[str, str, str], priority: int, success: int, error: int,
        in_progress: int, issued: int,
    ) -> None:  # fmt: skip
        self.key = key
        # A core.v3.Address.
        self.address = address
        self.locality = locality
        self.priority = priority
        self.success = success
        self.error = error
        self.in_progress = in_progress
        self.issued = issued


class ClusterLoad:
    """One cluster: its hosts, and requests so far that were not sent to any."""

    __slots__ = ("dropped", "hosts", "name", "service_name")

    def __init__(self, name: str, service_name: str, hosts: Sequence[HostLoad], dropped: int) -> None:
        self.name = name
        # `eds_cluster_config.service_name`
        self.service_name = service_name
        self.hosts = hosts
        self.dropped = dropped


class LoadSource:
    """Who knows the numbers."""

    def collect(self, done: Callable[[dict[str, ClusterLoad]], None]) -> None:
        """Gather the numbers of all clusters that serve, by name, and hand them to `done`, perhaps later."""
        raise NotImplementedError


class _Tracked:
    """A cluster that is reported: since when, and the numbers at that time."""

    __slots__ = ("dropped", "hosts", "since_ns")

    def __init__(self, load: ClusterLoad, now_ns: int) -> None:
        self.since_ns = now_ns
        self.dropped = load.dropped
        self.hosts = {host.key: (host.success, host.error, host.issued) for host in load.hosts}


class LoadReporter(GrpcStreamCallbacks):
    """Keeps a stream to the server and reports on it. `start` begins; the source must have been given by then."""

    def __init__(self, client: GrpcClient, node: bytes, dispatcher: Dispatcher, scope: Scope) -> None:
        """`node`: serialized."""
        self.client = client
        self.dispatcher = dispatcher
        self.source: LoadSource | None = None
        own: Any = api.new("envoy.config.core.v3.Node")
        own.ParseFromString(node)
        own.client_features.append(_FEATURE)
        self.node: bytes = own.SerializeToString(deterministic=True)
        within = scope.scope("load_reporter.")
        self._requests = within.counter("requests")
        self._responses = within.counter("responses")
        self._errors = within.counter("errors")
        self._retries = within.counter("retries")
        self._stream: GrpcStream | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        # What the server asked for last.
        self._wanted: Any = None
        self._tracked: dict[str, _Tracked] = {}

    def start(self) -> None:
        """Open the stream."""
        self._timer = None
        if self._closed:
            return
        self._wanted = None
        self._tracked.clear()
        _log.debug("Establishing new gRPC bidi stream for %s/%s", SERVICE, METHOD)
        stream = self.client.start(SERVICE, METHOD, self)
        if stream is None:
            return  # on_remote_close has been told
        self._stream = stream
        self._send([])

    def close(self) -> None:
        self._closed = True
        self._disarm()
        stream = self._stream
        self._stream = None
        if stream is not None:
            stream.reset()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # The stream

    def on_message(self, message: bytes) -> None:
        response: Any = api.new(_RESPONSE)
        try:
            response.ParseFromString(message)
        except DecodeError:
            if self._stream is not None:
                self._stream.reset()
                self.on_remote_close(INTERNAL, "")
            return
        _log.debug("New load report epoch: %s", response)
        self._requests.inc()
        self._wanted = response
        self._disarm()
        self._collect(self._begin)

    def on_remote_close(self, status: int, message: str) -> None:
        if self._closed:
            return
        if status == OK:
            _log.debug("%s gRPC config stream closed gracefully, %s", METHOD, message)
        else:
            _log.warning("%s gRPC config stream closed: %d, %s", METHOD, status, message)
        self._stream = None
        self._disarm()
        self._errors.inc()
        _log.debug("Load reporter stats stream/connection will retry in %d ms.", int(_RETRY_S * 1000))
        self._timer = self.dispatcher.call_later(_RETRY_S, self._retry)

    def _retry(self) -> None:
        self._retries.inc()
        self.start()

    # Periods

    def _collect(self, done: Callable[[dict[str, ClusterLoad]], None]) -> None:
        if self.source is not None:
            self.source.collect(done)

    def _begin(self, loads: dict[str, ClusterLoad]) -> None:
        """A period begins. What was reported before goes on from its last report."""
        if self._closed or self._stream is None or self._wanted is None:
            return
        wanted = list(loads) if self._wanted.send_all_clusters else list(self._wanted.clusters)
        now = self.dispatcher.monotonic_ns()
        self._tracked = {
            name: self._tracked.get(name) or _Tracked(loads[name], now) for name in wanted if name in loads
        }
        self._arm()

    def _arm(self) -> None:
        interval = self._wanted.load_reporting_interval
        self._disarm()
        self._timer = self.dispatcher.call_later(max(interval.seconds + interval.nanos / 1e9, 0.001), self._due)

    def _due(self) -> None:
        self._timer = None
        self._collect(self._report)

    def _report(self, loads: dict[str, ClusterLoad]) -> None:
        """The period is over."""
        if self._closed or self._stream is None or self._wanted is None:
            return
        now = self.dispatcher.monotonic_ns()
        stats = [
            self._cluster_stats(loads[name], before, now) for name, before in self._tracked.items() if name in loads
        ]
        for name in self._tracked:
            if name in loads:
                self._tracked[name] = _Tracked(loads[name], now)
        self._send(stats)
        # With `send_all_clusters`, clusters that came meanwhile are watched from now on.
        self._begin(loads)

    def _send(self, stats: Sequence[Any]) -> None:
        if self._stream is None:
            return
        request: Any = api.new(_REQUEST)
        request.node.ParseFromString(self.node)
        request.cluster_stats.extend(stats)
        self._stream.send_message(request.SerializeToString())
        self._responses.inc()

    def _cluster_stats(self, load: ClusterLoad, before: _Tracked, now_ns: int) -> Any:
        stats: Any = api.new("envoy.config.endpoint.v3.ClusterStats")
        stats.cluster_name = load.name
        stats.cluster_service_name = load.service_name
        groups: dict[tuple[int, tuple[str, str, str]], list[HostLoad]] = {}
        for host in load.hosts:
            groups.setdefault((host.priority, host.locality), []).append(host)
        for (priority, locality), hosts in sorted(groups.items()):
            group = self._locality_stats(priority, locality, hosts, before)
            if group.total_issued_requests or group.total_requests_in_progress:
                stats.upstream_locality_stats.append(group)
        stats.total_dropped_requests = max(load.dropped - before.dropped, 0)
        stats.load_report_interval.FromNanoseconds(now_ns - before.since_ns)
        return stats

    def _locality_stats(
        self, priority: int, locality: tuple[str, str, str], hosts: Sequence[HostLoad], before: _Tracked
    ) -> Any:
        group: Any = api.new("envoy.config.endpoint.v3.UpstreamLocalityStats")
        group.locality.region, group.locality.zone, group.locality.sub_zone = locality
        group.priority = priority
        for host in hosts:
            old_success, old_error, old_issued = before.hosts.get(host.key, (0, 0, 0))
            # A worker that was replaced begins at nothing.
            success = max(host.success - old_success, 0)
            error = max(host.error - old_error, 0)
            issued = max(host.issued - old_issued, 0)
            group.total_successful_requests += success
            group.total_error_requests += error
            group.total_requests_in_progress += host.in_progress
            group.total_issued_requests += issued
            if self._wanted.report_endpoint_granularity and (issued or host.in_progress):
                endpoint = group.upstream_endpoint_stats.add()
                endpoint.address.CopyFrom(host.address)
                endpoint.total_successful_requests = success
                endpoint.total_error_requests = error
                endpoint.total_requests_in_progress = host.in_progress
                endpoint.total_issued_requests = issued
        return group
