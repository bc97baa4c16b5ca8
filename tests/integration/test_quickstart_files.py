"""The files in `configs/` run as they are: the one of Envoy v1.16's introduction, and the quick-start."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from outrider.demo import quickstart
from tests.support.certificates import CertificateAuthority
from tests.support.dns_server import DnsServer, Zone
from tests.support.proxy_process import ROOT, child_environment, outrider_command

SEED = ROOT / "configs" / "seed-v1.16.yaml"
QUICKSTART = ROOT / "configs" / "quickstart.yaml"
# An address of the loopback network that nobody else is likely to serve HTTPS on.
SITE_ADDRESS = "127.0.53.16"


def need_ports(*addresses: tuple[str, int]) -> None:
    """These files name their ports: skip where one is taken, or may not be bound."""
    for address in addresses:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                pytest.skip(f"{address[0]}:{address[1]} cannot be bound: {error}")


class Site(http.server.BaseHTTPRequestHandler):
    """Stands in for www.envoyproxy.io."""

    protocol_version = "HTTP/1.1"
    requests: list[tuple[str, str]]

    def do_GET(self) -> None:
        type(self).requests.append((self.path, self.headers["host"]))
        body = b"<title>Envoy proxy - home</title>"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[type[Site], list[str | None]]]:
    """A TLS server on port 443; gives its handler and the server names that clients have asked for."""
    names: list[str | None] = []
    authority = CertificateAuthority(tmp_path)
    certificate, key = authority.issue("www.envoyproxy.io")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def note_name(engine: ssl.SSLSocket | ssl.SSLObject, name: str | None, used: ssl.SSLContext) -> None:
        names.append(name)

    context.sni_callback = note_name
    handler = type("Handler", (Site,), {"requests": []})
    server = http.server.ThreadingHTTPServer((SITE_ADDRESS, 443), handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield handler, names
    server.shutdown()
    server.server_close()
    thread.join(5)


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def wait_live(process: subprocess.Popen[bytes], errors: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, errors.read_text()
        with contextlib.suppress(OSError):
            if get(9901, "/ready")[0] == 200:
                return
        time.sleep(0.05)
    raise AssertionError(errors.read_text())


def test_the_file_of_the_introduction_runs_verbatim(
    site: tuple[type[Site], list[str | None]], tmp_path: Path
) -> None:
    need_ports(("0.0.0.0", 10000), ("0.0.0.0", 9901))
    handler, names = site
    dns = DnsServer({"www.envoyproxy.io": Zone([SITE_ADDRESS])})
    # The file as it is; only where names are looked up is said beside it.
    resolver = {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": dns.port}}],
        },
    }
    output, errors = tmp_path / "out", tmp_path / "err"
    command = [
        *outrider_command(), "-c", str(SEED), "--config-yaml", json.dumps({"typed_dns_resolver_config": resolver}),
        "--concurrency", "1", "--file-flush-interval-msec", "20",
    ]  # fmt: skip
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, cwd=tmp_path, env=child_environment())
    try:
        wait_live(process, errors)
        assert get(10000, "/") == (200, "<title>Envoy proxy - home</title>")
        assert handler.requests == [("/", "www.envoyproxy.io")]
        assert names == ["www.envoyproxy.io"]
        status, page = get(9901, "/")
        assert status == 200
        assert "/help" in page or "config_dump" in page
        deadline = time.monotonic() + 5
        while not output.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        line = output.read_text()
        assert '"GET / HTTP/1.1" 200 - 0 33 ' in line
        assert line.endswith(f'"www.envoyproxy.io" "{SITE_ADDRESS}:443"\n')
        said = errors.read_text()
        # One warning for each outdated construct.
        assert said.count("outdated configuration") == 2
        assert "access_log_path" in said
        assert "'envoy.filters.http.router' without typed_config" in said
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        dns.close()
        Path("/tmp/admin_access.log").unlink(missing_ok=True)


def test_the_shipped_quick_start_is_the_one_in_configs() -> None:
    assert quickstart.CONFIG.read_text() == QUICKSTART.read_text()


def test_the_demonstration_serves_and_ends(tmp_path: Path) -> None:
    need_ports(("127.0.0.1", 10000), ("127.0.0.1", 9901))
    output, errors = tmp_path / "out", tmp_path / "err"
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen([*outrider_command(), "--demo"], stdout=out, stderr=err, env=child_environment())
    try:
        wait_live(process, errors)
        assert get(10000, "/hello") == (200, "Hello from the proxy itself.\n")
        status, page = get(10000, "/some/page")
        assert status == 200
        assert "It works." in page
        assert "/some/page" in page
        assert "x-request-id" in page
        assert get(10000, "/status/418")[0] == 418
        assert len(get(10000, "/bytes/300000")[1]) == 300000
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    printed = output.read_text()
    assert "http://localhost:10000/" in printed
    assert "http://localhost:9901/" in printed
    assert "outrider -c envoy.yaml" in printed
