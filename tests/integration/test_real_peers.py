"""Clients and servers that others wrote: curl, httpx and websockets in front, nginx behind."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets.asyncio.client
import websockets.asyncio.server

from tests.integration.configuration import proxy_config
from tests.integration.conftest import Starter
from tests.support.ports import free_port
from tests.support.raw_client import fetch

BIG = 3_000_000

NGINX_CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/www;
    gzip on;
    gzip_min_length 1;
    gzip_types text/plain;
    location /echo {{ return 200 "$request_method $host $http_x_forwarded_proto $http_x_one"; }}
    location /dav/ {{ dav_methods PUT DELETE; create_full_put_path on; client_max_body_size 100m; }}
    location /closing {{ keepalive_timeout 0; return 200 "bye"; }}
  }}
}}
"""


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[int]:
    """A running nginx with some files; gives its port."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    content = tmp_path / "www"
    content.mkdir()
    # Its workers may run as another user.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        os.chmod(folder, 0o755)
    (content / "page.txt").write_text("a page, a page, a page\n" * 50)
    (content / "big.bin").write_bytes(os.urandom(BIG))
    (content / "dav").mkdir()
    os.chmod(content / "dav", 0o777)
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX_CONFIG.format(folder=tmp_path, port=port))
    with (tmp_path / "nginx.err").open("wb") as errors:
        process = subprocess.Popen([binary, "-c", str(config), "-p", str(tmp_path)], stdout=errors, stderr=errors)
    deadline = time.monotonic() + 10
    while True:
        try:
            fetch(("127.0.0.1", port), b"GET /echo HTTP/1.1\r\nhost: x\r\n\r\n")
            break
        except OSError:
            assert process.poll() is None, (tmp_path / "nginx.err").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield port
    process.terminate()
    process.wait(10)


@pytest.fixture
def url(start: Starter, nginx: int) -> str:
    """Of the proxy in front of nginx."""
    admin, port = free_port(), free_port()
    start(proxy_config(admin, port, nginx), admin)
    return f"http://127.0.0.1:{port}"


def curl(*arguments: str) -> str:
    binary = shutil.which("curl")
    if binary is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(
        [binary, "--silent", "--show-error", "--max-time", "20", "--noproxy", "*", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl(url: str, tmp_path: Path) -> None:
    assert curl(url + "/echo", "-H", "x-one: 1") == "GET 127.0.0.1 http 1"
    assert curl(url + "/echo", "-H", "host: named.test") == "GET named.test http "
    head = curl("-I", url + "/page.txt")
    assert head.startswith("HTTP/1.1 200 OK")
    assert "server: envoy" in head
    assert curl("--compressed", url + "/page.txt") == "a page, a page, a page\n" * 50
    assert curl("-r", "2-5", url + "/page.txt") == "page"
    assert curl(url + "/echo", url + "/echo", "-w", "%{num_connects}").count("GET") == 2
    assert "404" in curl("-o", os.devnull, "-w", "%{http_code}", url + "/nothing-here")
    assert curl("--http1.0", "-o", os.devnull, "-w", "%{http_code}", url + "/echo") == "426"
    received = tmp_path / "received"
    curl("-o", str(received), url + "/big.bin")
    assert received.read_bytes() == (tmp_path / "www" / "big.bin").read_bytes()


def test_curl_uploads(url: str, tmp_path: Path) -> None:
    source = tmp_path / "upload"
    source.write_bytes(os.urandom(BIG))
    # curl asks for 100-continue before a body this large.
    assert curl("-T", str(source), "-o", os.devnull, "-w", "%{http_code}", url + "/dav/one") == "201"
    chunked = ("-H", "transfer-encoding: chunked")
    assert curl("-T", str(source), *chunked, "-o", os.devnull, "-w", "%{http_code}", url + "/dav/two") == "201"
    for name in ("one", "two"):
        assert (tmp_path / "www" / "dav" / name).read_bytes() == source.read_bytes()


def test_httpx(url: str, tmp_path: Path) -> None:
    expected = hashlib.sha256((tmp_path / "www" / "big.bin").read_bytes()).hexdigest()
    with httpx.Client(base_url=url, trust_env=False) as client:
        for _ in range(20):
            assert client.get("/echo", headers={"x-one": "2"}).text.endswith("2")
        assert client.head("/page.txt", headers={"accept-encoding": "identity"}).headers["content-length"] == "1150"
        assert client.get("/closing").text == "bye"
        assert client.get("/closing").text == "bye"
        digest = hashlib.sha256()
        with client.stream("GET", "/big.bin") as response:
            for block in response.iter_bytes():
                digest.update(block)
        assert digest.hexdigest() == expected
        assert client.put("/dav/three", content=b"x" * 100_000).status_code == 201
        assert client.put("/dav/four", content=iter([b"a" * 1000, b"b" * 1000])).status_code == 201
        assert client.get("/dav/four").text == "a" * 1000 + "b" * 1000
        assert client.delete("/dav/four").status_code == 204
        assert client.get("/dav/four").status_code == 404


def test_httpx_many_at_once(url: str) -> None:
    async def run() -> list[int]:
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(base_url=url, trust_env=False, limits=limits, timeout=20) as client:
            answers = await asyncio.gather(*(client.get(f"/echo?{number}") for number in range(300)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(run()) == [200] * 300


def test_websockets(start: Starter) -> None:
    admin, port, upstream = free_port(), free_port(), free_port()
    start(proxy_config(admin, port, upstream, manager={"upgrade_configs": [{"upgrade_type": "websocket"}]}), admin)

    async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async def run() -> list[str | bytes]:
        received: list[str | bytes] = []
        async with (
            websockets.asyncio.server.serve(echo, "127.0.0.1", upstream),
            websockets.asyncio.client.connect(f"ws://127.0.0.1:{port}/chat", proxy=None) as connection,
        ):
            for message in ("hello", b"\x00\x01", "x" * 500_000):
                await connection.send(message)
                received.append(await connection.recv())
            await (await connection.ping())
        return received

    assert asyncio.run(run()) == ["hello", b"\x00\x01", "x" * 500_000]
