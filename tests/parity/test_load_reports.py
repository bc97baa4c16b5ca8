"""Load reports: the same traffic, the same reports as the real Envoy's."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.parity.harness.config import http as http_listener
from tests.support.control_plane import xds_cluster
from tests.support.http_upstream import StatusUpstream
from tests.support.load_report_server import LoadReportServer
from tests.support.ports import free_port
from tests.support.proxy_process import ProxyProcess

HOSTS = "[{name: all, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: backend}}]}]"


def config(server: LoadReportServer, upstream: StatusUpstream, port: int, admin: int) -> dict[str, Any]:
    backend = xds_cluster(upstream.port, "backend")
    del backend["typed_extension_protocol_options"]
    backend["load_assignment"]["endpoints"][0]["locality"] = {"region": "r", "zone": "z", "sub_zone": "s"}
    listener = http_listener("main", virtual_hosts=HOSTS, log=[])
    listener["address"]["socket_address"]["port_value"] = port
    service = {"envoy_grpc": {"cluster_name": "xds"}}
    return {
        "node": {"id": "me", "cluster": "ours"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {"listeners": [listener], "clusters": [xds_cluster(server.port), backend]},
        "cluster_manager": {
            "load_stats_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]}
        },
    }


def summary(reports: list[Any], port: int) -> dict[str, int]:
    """All reports added up: requests that fall in two periods are reported in parts."""
    total: dict[str, int] = {}
    for report in reports:
        for zone in report.upstream_locality_stats:
            place = str(zone.locality).replace("\n", " ")
            for endpoint in [zone, *zone.upstream_endpoint_stats]:
                where = place
                if endpoint is not zone:
                    where += str(endpoint.address).replace("\n", " ").replace(str(port), "PORT")
                for name in ("total_successful_requests", "total_error_requests", "total_issued_requests"):
                    total[f"{where} {name}"] = total.get(f"{where} {name}", 0) + int(getattr(endpoint, name))
        total["dropped"] = total.get("dropped", 0) + report.total_dropped_requests
    return total


def run(kind: str, folder: Path, clusters: list[str] | None, by_endpoint: bool) -> tuple[dict[str, int], list[str], list[str]]:
    folder.mkdir()
    with StatusUpstream() as upstream, LoadReportServer(clusters, 0.5, by_endpoint) as server:
        port, admin = free_port(), free_port()
        proxy = ProxyProcess(kind, json.dumps(config(server, upstream, port, admin)), admin, folder)
        try:
            proxy.wait_ready()
            deadline = time.monotonic() + 10
            while len(server.requests()) < 2:
                assert time.monotonic() < deadline, proxy.printed()
                time.sleep(0.02)
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            for status in (200, 404, 500, 200):
                client.request("GET", f"/{status}")
                client.getresponse().read()
            client.close()
            seen = len(server.requests())
            while len(server.requests()) < seen + 3:
                assert time.monotonic() < deadline, proxy.printed()
                time.sleep(0.02)
            stats = proxy.admin("/stats?filter=load_reporter").body.splitlines()
        finally:
            proxy.stop()
        features = [each.node.client_features for each in server.requests()]
        assert all(list(each) == ["envoy.lrs.supports_send_all_clusters"] for each in features)
        found = summary(server.reports("backend"), upstream.port)
        names = sorted({each.cluster_name for request in server.requests() for each in request.cluster_stats})
        # How many periods have passed is chance.
        return found, names, [each for each in stats if "responses" not in each]


@pytest.mark.parametrize("by_endpoint", [False, True])
@pytest.mark.parametrize("clusters", [["backend", "nobody"], None])
def test_reports(kinds: list[str], tmp_path: Path, clusters: list[str] | None, by_endpoint: bool) -> None:
    with ThreadPoolExecutor(len(kinds)) as threads:
        futures = [threads.submit(run, kind, tmp_path / kind, clusters, by_endpoint) for kind in kinds]
        results = [future.result() for future in futures]
    issued = [count for name, count in results[0][0].items() if name.endswith("total_issued_requests")]
    assert issued == ([4, 4] if by_endpoint else [4]), results[0][0]
    for other in results[1:]:
        assert other == results[0]
