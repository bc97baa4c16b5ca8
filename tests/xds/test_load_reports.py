"""Load reports: what is counted from when, and what the server is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from outrider.config import api
from outrider.grpc.client import GrpcStream, GrpcStreamCallbacks
from outrider.stats.store import Store
from outrider.xds.load_reports import ClusterLoad, HostLoad, LoadReporter, LoadSource
from tests.xds.fakes import FakeClient, FakeStream, ManualDispatcher


class ReportStream(FakeStream):
    def send_message(self, message: bytes, end_stream: bool = False) -> None:
        request: Any = api.new("envoy.service.load_stats.v3.LoadStatsRequest")
        request.ParseFromString(message)
        self.sent.append(request)


class ReportClient(FakeClient):
    def start(
        self, service: str, method: str, callbacks: GrpcStreamCallbacks, timeout_ms: int = 0
    ) -> GrpcStream | None:
        assert (service, method) == ("envoy.service.load_stats.v3.LoadReportingService", "StreamLoadStats")
        if self.refuse is not None:
            return super().start(service, method, callbacks, timeout_ms)
        stream = ReportStream(self, callbacks, method)
        self.streams.append(stream)
        return stream


class Numbers(LoadSource):
    """`hosts`: key -> locality, priority, success, error, in progress, issued."""

    def __init__(self) -> None:
        self.clusters: dict[str, dict[str, tuple[str, int, int, int, int, int]]] = {}
        self.dropped = 0

    def collect(self, done: Callable[[dict[str, ClusterLoad]], None]) -> None:
        address: Any = api.new("envoy.config.core.v3.Address")
        done({
            name: ClusterLoad(
                name, "", [HostLoad(key, address, ("", zone, ""), *rest) for key, (zone, *rest) in hosts.items()],
                self.dropped,
            )
            for name, hosts in self.clusters.items()
        })  # fmt: skip


class Scene:
    def __init__(self) -> None:
        self.dispatcher = ManualDispatcher()
        self.client = ReportClient()
        self.store = Store()
        node: Any = api.new("envoy.config.core.v3.Node")
        node.id = "me"
        self.reporter = LoadReporter(self.client, node.SerializeToString(), self.dispatcher, self.store)
        self.numbers = self.reporter.source = Numbers()

    def ask(self, *clusters: str, everything: bool = False, by_endpoint: bool = False) -> None:
        response: Any = api.new("envoy.service.load_stats.v3.LoadStatsResponse")
        response.clusters.extend(clusters)
        response.send_all_clusters = everything
        response.report_endpoint_granularity = by_endpoint
        response.load_reporting_interval.seconds = 2
        self.client.stream.callbacks.on_message(response.SerializeToString())

    def value(self, name: str) -> int:
        return self.store.counter(name).value


def test_the_first_message_says_who_we_are() -> None:
    scene = Scene()
    scene.reporter.start()
    (first,) = scene.client.stream.take()
    assert first.node.id == "me"
    assert list(first.node.client_features) == ["envoy.lrs.supports_send_all_clusters"]
    assert not first.cluster_stats
    assert scene.value("load_reporter.responses") == 1


def test_counts_of_a_period_by_locality() -> None:
    scene = Scene()
    scene.numbers.clusters = {"a": {"1": ("z1", 0, 10, 1, 0, 11), "2": ("z2", 1, 0, 0, 0, 0)}, "b": {}}
    scene.reporter.start()
    scene.ask("a", "unknown")
    scene.client.stream.take()
    scene.numbers.clusters["a"] = {"1": ("z1", 0, 12, 2, 1, 15), "2": ("z2", 1, 0, 0, 0, 0)}
    scene.numbers.dropped = 3
    scene.dispatcher.advance(2)
    (report,) = scene.client.stream.take()
    (stats,) = report.cluster_stats
    assert stats.cluster_name == "a"
    (zone,) = stats.upstream_locality_stats
    assert (zone.locality.zone, zone.priority) == ("z1", 0)
    assert (zone.total_successful_requests, zone.total_error_requests) == (2, 1)
    assert (zone.total_requests_in_progress, zone.total_issued_requests) == (1, 4)
    assert not zone.upstream_endpoint_stats
    assert stats.total_dropped_requests == 3
    assert stats.load_report_interval.seconds == 2
    # Each period counts anew.
    scene.numbers.clusters["a"]["1"] = ("z1", 0, 12, 2, 0, 15)
    scene.dispatcher.advance(2)
    (report,) = scene.client.stream.take()
    assert not report.cluster_stats[0].upstream_locality_stats
    assert report.cluster_stats[0].total_dropped_requests == 0


def test_by_endpoint() -> None:
    scene = Scene()
    scene.numbers.clusters = {"a": {"1": ("z", 0, 0, 0, 0, 0), "2": ("z", 0, 0, 0, 0, 0)}}
    scene.reporter.start()
    scene.ask("a", by_endpoint=True)
    scene.numbers.clusters["a"]["2"] = ("z", 0, 1, 0, 0, 1)
    scene.client.stream.take()
    scene.dispatcher.advance(2)
    (zone,) = scene.client.stream.take()[0].cluster_stats[0].upstream_locality_stats
    assert [each.total_issued_requests for each in zone.upstream_endpoint_stats] == [1]


def test_all_clusters_also_those_to_come() -> None:
    scene = Scene()
    scene.numbers.clusters = {"a": {}}
    scene.reporter.start()
    scene.ask(everything=True)
    scene.client.stream.take()
    scene.numbers.clusters["b"] = {}
    scene.dispatcher.advance(4)
    assert [[each.cluster_name for each in report.cluster_stats] for report in scene.client.stream.take()] == [
        ["a"],
        ["a", "b"],
    ]


def test_a_lost_stream_is_opened_again() -> None:
    scene = Scene()
    scene.reporter.start()
    scene.client.stream.callbacks.on_remote_close(14, "gone")
    assert scene.value("load_reporter.errors") == 1
    scene.dispatcher.advance(4)
    assert len(scene.client.streams) == 1
    scene.dispatcher.advance(1)
    assert len(scene.client.streams) == 2
    assert scene.value("load_reporter.retries") == 1
    scene.client.stream.callbacks.on_message(b"\xff\xff")
    assert scene.client.stream.was_reset
    scene.reporter.close()
    assert scene.dispatcher.timers() == 0
