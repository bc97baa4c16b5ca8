"""Secrets, routes and filters that change under traffic, with several workers; a control plane that goes away."""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.network.tls.pki import Issued, authority
from tests.parity.test_discovered_parts import (
    ADS,
    CLUSTER,
    EXTENSION,
    ROUTES,
    SECRET,
    TYPE,
    Scene,
    answer,
    at,
    on_demand,
    secret,
    shown,
    tls,
    use_ads,
)
from tests.support.control_plane import Recorder
from tests.support.discovery_scene import NamedUpstream

CA = authority()
CERTIFICATES = [CA.issue(f"cert{number}", "server.test") for number in range(4)]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene("outrider", tmp_path)
    made.concurrency = 2
    yield made
    made.stop()


@pytest.fixture
def control_plane() -> Iterator[Recorder]:
    with Recorder() as made:
        yield made


class TlsTraffic:
    """Requests without a pause, each other connection new; every failure is kept."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.count = 0
        self.failures: list[str] = []
        self.seen: set[bytes] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(3)]

    def __enter__(self) -> TlsTraffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self) -> None:
        context = ssl.create_default_context(cadata=CA.pem)
        context.check_hostname = False
        while not self._stop.is_set():
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=5, context=context)
            try:
                for _ in range(3):
                    connection.request("GET", "/")
                    response = connection.getresponse()
                    response.read()
                    if response.status != 200:
                        self.failures.append(str(response.status))
                    self.count += 1
                assert isinstance(connection.sock, ssl.SSLSocket)
                self.seen.add(connection.sock.getpeercert(True) or b"")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
            finally:
                connection.close()


def listen_tls(scene: Scene, *filters: dict[str, Any]) -> None:
    common = {"tls_certificate_sds_secret_configs": [{"name": "cert", "sds_config": ADS}]}
    rds = {"rds": {"route_config_name": "r", "config_source": ADS}}
    chain = {"transport_socket": tls("Downstream", common)}
    scene.listen("tls", [scene.manager("tls", rds, *filters)], chain=chain)


def test_certificates_rotate_under_traffic(scene: Scene, control_plane: Recorder) -> None:
    use_ads(scene, control_plane)
    control_plane.set(SECRET, [secret(CERTIFICATES[0])])
    control_plane.set(ROUTES, [answer("r", 200)])
    listen_tls(scene)
    scene.start()
    with TlsTraffic(scene.ports["tls"]) as traffic:
        for number in range(12):
            time.sleep(0.25)
            control_plane.update(SECRET, secret(CERTIFICATES[number % 4]))
            if number == 6:
                # A bad one in between, and a table that is refused.
                control_plane.update(SECRET, {"name": "cert", "tls_certificate": {}})
                control_plane.update(ROUTES, {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*", "*"]}]})
                control_plane.wait_for(lambda: control_plane.nacks(SECRET) and control_plane.nacks(ROUTES))
    assert traffic.failures == [] and traffic.count > 50
    assert traffic.seen == {each.der for each in CERTIFICATES}
    last: Issued = CERTIFICATES[3]
    scene.until(lambda: shown(scene, "tls") == last.der)


def test_filters_and_routes_change_under_traffic(scene: Scene, control_plane: Recorder) -> None:
    use_ads(scene, control_plane, "GRPC")
    header = TYPE + "extensions.filters.http.header_to_metadata.v3.Config"

    def extension(number: int) -> dict[str, Any]:
        rule = {"header": f"x-{number}", "on_header_present": {"key": "k", "type": "STRING"}}
        return {"name": "f", "typed_config": {"@type": header, "request_rules": [rule]}}

    control_plane.set(SECRET, [secret(CERTIFICATES[0])])
    control_plane.set(EXTENSION, [extension(0)])
    control_plane.set(ROUTES, [answer("r", 200)])
    listen_tls(scene, {"name": "f", "config_discovery": {"config_source": ADS, "type_urls": [header]}})
    scene.start()
    with TlsTraffic(scene.ports["tls"]) as traffic:
        for number in range(20):
            time.sleep(0.05)
            control_plane.update(EXTENSION, extension(number))
            control_plane.update(ROUTES, answer("r", 200, internal_only_headers=[f"x-{number}"]))
        control_plane.stop()
        time.sleep(0.5)
        control_plane.start()
        control_plane.update(EXTENSION, extension(99))
        scene.until(lambda: scene.stat("extension_config_discovery.http_filter.f.config_reload") >= 20, 20.0)
    assert traffic.failures == [] and traffic.count > 20


def test_a_static_cluster_takes_its_secrets_from_ads(scene: Scene, control_plane: Recorder) -> None:
    use_ads(scene, control_plane)
    trusted = {"name": "ROOTCA", "validation_context": {"trusted_ca": {"inline_string": CA.pem}}}
    control_plane.set(SECRET, [secret(CERTIFICATES[0]), trusted])
    control_plane.set(ROUTES, [answer("r", 200)])
    listen_tls(scene)
    validation = {"validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": ADS}}
    hosts = {"cluster_name": "up", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(scene.ports["tls"])}}]}]}
    up = {"name": "up", "type": "STATIC", "load_assignment": hosts, "transport_socket": tls("Upstream", validation)}
    scene.clusters.insert(0, up)
    away = {"match": {"prefix": "/"}, "route": {"cluster": "up"}}
    routes = {"name": "away", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [away]}]}
    scene.listen("plain", [scene.manager("plain", {"route_config": routes})])
    scene.start()
    assert scene.get("plain") == 200
    other = authority("other")
    control_plane.update(SECRET, {**trusted, "validation_context": {"trusted_ca": {"inline_string": other.pem}}})
    scene.until(lambda: scene.get("plain") == 503)
    control_plane.update(SECRET, trusted)
    scene.until(lambda: scene.get("plain") == 200)


def test_a_worker_that_is_born_later_knows_everything(scene: Scene, control_plane: Recorder) -> None:
    """Also what was discovered on demand, by the other worker."""
    upstream = NamedUpstream()
    try:
        use_ads(scene, control_plane)
        assignment = {"cluster_name": "late", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(upstream.port)}}]}]}
        control_plane.set(CLUSTER, [{"name": "late", "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment}])
        control_plane.set(SECRET, [secret(CERTIFICATES[0])])
        table = answer("r", 200)
        table["virtual_hosts"][0]["routes"].insert(0, {"match": {"prefix": "/late"}, "route": {"cluster": "late"}})
        control_plane.set(ROUTES, [table])
        listen_tls(scene, on_demand(source=ADS))
        rds = {"rds": {"route_config_name": "r", "config_source": ADS}}
        scene.listen("web", [scene.manager("web", rds, on_demand(source=ADS))])
        scene.start()
        assert scene.get("web", path="/late") == 200
        control_plane.silent = True
        assert scene.proxy is not None
        workers = [pid for template in children(scene.proxy.process.pid) for pid in children(template)]
        assert len(workers) == 2
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        time.sleep(1.5)
        for _ in range(6):
            assert scene.get("web", path="/late") == 200 and shown(scene, "tls") == CERTIFICATES[0].der
    finally:
        upstream.close()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
