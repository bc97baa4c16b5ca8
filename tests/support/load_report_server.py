"""A load reporting service for tests: remembers what is reported, asks for what the test says.

    with LoadReportServer(["backend"], interval_s=0.2) as server: ... server.port ... server.reports()
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent import futures
from typing import Any

import grpc
from outrider.config import api

SERVICE = "envoy.service.load_stats.v3.LoadReportingService"


class LoadReportServer:
    """`clusters` None: all."""

    def __init__(self, clusters: Sequence[str] | None, interval_s: float, by_endpoint: bool = False) -> None:
        # All types now, by one thread: protobuf's pools must not grow while others use them.
        api.pool()
        self.response: Any = api.new("envoy.service.load_stats.v3.LoadStatsResponse")
        if clusters is None:
            self.response.send_all_clusters = True
        else:
            self.response.clusters.extend(clusters)
        self.response.load_reporting_interval.FromNanoseconds(int(interval_s * 1e9))
        self.response.report_endpoint_granularity = by_endpoint
        self.port = 0
        self._lock = threading.Lock()
        self._requests: list[Any] = []
        self._server: grpc.Server | None = None

    def __enter__(self) -> LoadReportServer:
        server = grpc.server(futures.ThreadPoolExecutor(8))
        request_class: Any = api.message_class("envoy.service.load_stats.v3.LoadStatsRequest")
        handler = grpc.stream_stream_rpc_method_handler(
            self._serve, request_class.FromString, lambda message: message.SerializeToString()
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"StreamLoadStats": handler}),))
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        server.start()
        self._server = server
        return self

    def __exit__(self, *error: object) -> None:
        if self._server is not None:
            self._server.stop(0).wait()

    def _serve(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        first = True
        try:
            for request in requests:
                with self._lock:
                    self._requests.append(request)
                if first:
                    first = False
                    yield self.response
        except grpc.RpcError:
            pass

    def requests(self) -> list[Any]:
        with self._lock:
            return list(self._requests)

    def reports(self, cluster: str) -> list[Any]:
        """The ClusterStats of a cluster, oldest first."""
        return [each for request in self.requests() for each in request.cluster_stats if each.cluster_name == cluster]
