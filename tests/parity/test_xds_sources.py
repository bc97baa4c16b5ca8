"""REST and files as config sources: the same requests and the same stats as the real Envoy's."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from outrider.config import api
from tests.support.control_plane import Recorder, xds_cluster
from tests.support.ports import free_port
from tests.support.proxy_process import ProxyProcess
from tests.xds.fakes import CLUSTER
from tests.xds.test_rest import RestPlane, state

STATS = re.compile(r"\.cds\.(update_(attempt|success|rejected|failure)|init_fetch_timeout|version|version_text):")


def bootstrap(admin: int, port: int, cds: dict[str, Any]) -> dict[str, Any]:
    cluster = xds_cluster(port)
    del cluster["typed_extension_protocol_options"]
    return {
        "node": {"id": "me", "cluster": "ours"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {"clusters": [cluster]},
        "dynamic_resources": {"cds_config": cds},
    }


def each_side(kinds: list[str], work: Callable[[str], Any]) -> list[Any]:
    api.pool()  # by one thread
    with ThreadPoolExecutor(len(kinds)) as threads:
        return [future.result() for future in [threads.submit(work, kind) for kind in kinds]]


def stats_of(proxy: ProxyProcess) -> list[str]:
    return sorted(line for line in proxy.admin("/stats").body.splitlines() if STATS.search(line))


def stat(proxy: ProxyProcess, name: str) -> int:
    found = re.search(rf"cds\.{name}: (\d+)", proxy.admin("/stats").body)
    return int(found[1]) if found else 0


def test_rest(kinds: list[str], tmp_path: Path) -> None:
    def work(kind: str) -> tuple[list[Any], list[str]]:
        plane = RestPlane()
        plane.answers = [
            (200, state("1", "a")), (304, ""), (503, ""), (200, "{"), (200, state("2", "b", timeout="0s")),
            (200, state("3", "c")), (304, ""),
        ]  # fmt: skip
        source = {"api_type": "REST", "transport_api_version": "V3", "cluster_names": ["xds"], "refresh_delay": "0.2s"}
        admin = free_port()
        (tmp_path / kind).mkdir()
        config = bootstrap(admin, plane.port, {"api_config_source": source, "resource_api_version": "V3"})
        proxy = ProxyProcess(kind, json.dumps(config), admin, tmp_path / kind)
        try:
            proxy.wait_ready()
            Recorder.wait_for(lambda: len(plane.requests) >= 7, 20)
            requests = plane.requests[:7]
            stats = [each for each in stats_of(proxy) if "attempt" not in each]
        finally:
            proxy.stop()
            plane.close()
        for _, headers, body in requests:
            body["node"].pop("extensions")
            body["node"].pop("user_agent_build_version")
            for name in ("content-length", "x-forwarded-for", "x-request-id"):
                headers.pop(name, None)
        return requests, stats

    results = each_side(kinds, work)
    assert [body.get("version_info") for _, _, body in results[0][0]] == [None, "1", "1", "1", "1", "1", "3"]
    for other in results[1:]:
        assert other == results[0]


@pytest.mark.parametrize("form", ["path", "watched_directory"])
def test_files(kinds: list[str], tmp_path: Path, form: str) -> None:
    def text(version: str, *names: str, timeout: str = "1s") -> str:
        resources = [
            {"@type": f"type.googleapis.com/{CLUSTER}", "name": name, "connect_timeout": timeout} for name in names
        ]
        return json.dumps({"version_info": version, "resources": resources})

    def work(kind: str) -> list[str]:
        folder = tmp_path / kind
        folder.mkdir()
        watched = tmp_path / f"{kind}-watched"
        watched.mkdir()
        path = watched / "cds.json"
        path.write_text(text("1", "a"))
        source: dict[str, Any] = {"path": str(path)}
        if form == "watched_directory":
            source["watched_directory"] = {"path": str(watched)}
        admin = free_port()
        config = bootstrap(admin, 1, {"path_config_source": source, "resource_api_version": "V3"})
        proxy = ProxyProcess(kind, json.dumps(config), admin, folder)
        try:
            proxy.wait_ready()
            attempts = 1
            for content in (text("2", "a", "b"), "{", text("3", "a", timeout="0s"), text("4", "a", "a"), text("5")):
                new = tmp_path / f"{kind}-new"
                new.write_text(content)
                os.replace(new, path)
                attempts += 1
                Recorder.wait_for(lambda: stat(proxy, "update_attempt") >= attempts)  # noqa: B023
            # Written in place: not noticed, as it might be half done.
            path.write_text(text("6", "z"))
            time.sleep(0.3)
            return stats_of(proxy)
        finally:
            proxy.stop()

    results = each_side(kinds, work)
    assert any(each.endswith('version_text: "5"') for each in results[0])
    for other in results[1:]:
        assert other == results[0]
