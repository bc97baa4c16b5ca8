"""Runs the real Envoy and notes what it does with raw HTTP/1 bytes: the source of `smuggling_envoy.json`.

    python tests/http/http1/envoy_recorder.py [name-prefix]

The Envoy binary is taken from the variable ENVOY_BINARY, else from `.venv-envoy` beside the package. Every case is one
connection to a listener of the case's kind; the upstream answers each request that it reads completely with
`200`/`ok`, or, for upstream cases, with the bytes of the case.
"""

from __future__ import annotations

import asyncio
import glob
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import h11

from tests.http.http1.smuggling_cases import CASES, LISTENERS, UPSTREAM_CASES, UPSTREAM_CLUSTERS

ROOT = Path(__file__).resolve().parents[3]
RECORD = Path(__file__).with_name("smuggling_envoy.json")
LOG_FORMAT = (
    "%RESPONSE_CODE%|%RESPONSE_CODE_DETAILS%|%RESPONSE_FLAGS%|%PROTOCOL%|%REQ(:METHOD)%|%BYTES_RECEIVED%|"
    "%DOWNSTREAM_WIRE_BYTES_RECEIVED%|%DOWNSTREAM_WIRE_BYTES_SENT%|%UPSTREAM_WIRE_BYTES_SENT%|"
    "%UPSTREAM_WIRE_BYTES_RECEIVED%\n"
)


def binary() -> str:
    found = os.environ.get("ENVOY_BINARY")
    if found:
        return found
    return glob.glob(str(ROOT / ".venv-envoy/lib/python3*/site-packages/envoy/_bin/envoy"))[0]


class Upstream:
    """Answers complete requests, keeps the raw bytes of each connection."""

    def __init__(self) -> None:
        self.received: dict[int, bytearray] = {}
        self.answer: list[bytes] = []
        self.close_after = False
        self.pause = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        raw_mode = False
        try:
            while True:
                data = await reader.read(65536)
                if not data:
                    break
                self.received.setdefault(id(writer), bytearray()).extend(data)
                if raw_mode:
                    writer.write(b"echo:" + data)
                    continue
                try:
                    connection.receive_data(data)
                    while True:
                        event = connection.next_event()
                        if isinstance(event, h11.Request) and (
                            event.method == b"CONNECT" or b"upgrade" in dict(event.headers)
                        ):
                            raw_mode = True
                            status = b"200 OK" if event.method == b"CONNECT" else b"101 Switching Protocols"
                            extra = b"" if event.method == b"CONNECT" else b"connection: upgrade\r\nupgrade: foo\r\n"
                            if self.answer:
                                for part in self.answer:
                                    writer.write(part)
                                    await asyncio.sleep(0.02)
                            else:
                                writer.write(b"HTTP/1.1 " + status + b"\r\n" + extra + b"\r\n")
                            break
                        if event in (h11.NEED_DATA, h11.PAUSED):
                            break
                        if isinstance(event, h11.EndOfMessage):
                            if self.answer:
                                for part in self.answer:
                                    writer.write(part)
                                    await asyncio.sleep(0.02)
                                if self.close_after:
                                    writer.close()
                                    return
                            else:
                                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                            connection = h11.Connection(h11.SERVER)
                            break
                except h11.RemoteProtocolError:
                    writer.close()
                    return
        except ConnectionError:
            pass
        finally:
            writer.close()


def config(ports: dict[tuple[str, str], int], upstream_port: int, admin_port: int) -> dict[str, object]:
    listeners = []
    base = {
        "stat_prefix": "h",
        "delayed_close_timeout": "0.05s",
        "generate_request_id": False,
        "stream_idle_timeout": "2s",
        "upgrade_configs": [{"upgrade_type": "foo"}, {"upgrade_type": "CONNECT"}],
        "codec_type": "HTTP1",
    }
    for (kind, cluster), port in ports.items():
        hcm = dict(base)
        hcm.update(LISTENERS[kind])
        hcm["@type"] = (
            "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        )
        hcm["stat_prefix"] = kind
        hcm["access_log"] = [
            {
                "name": "f",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": "/dev/stdout",
                    "log_format": {"text_format_source": {"inline_string": LOG_FORMAT}},
                },
            }
        ]
        hcm["http_filters"] = [
            {
                "name": "r",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            }
        ]
        hcm["route_config"] = {
            "virtual_hosts": [
                {
                    "name": "v",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"connect_matcher": {}}, "route": {"cluster": cluster}},
                        {"match": {"prefix": "/"}, "route": {"cluster": cluster}},
                    ],
                }
            ]
        }
        listeners.append(
            {
                "name": f"{kind}-{cluster}",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                "filter_chains": [{"filters": [{"name": "h", "typed_config": hcm}]}],
            }
        )
    clusters = []
    for name, options in UPSTREAM_CLUSTERS.items():
        clusters.append(
            {
                "name": name,
                "connect_timeout": "1s",
                "type": "STATIC",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {"http_protocol_options": options},
                    }
                },
                "load_assignment": {
                    "cluster_name": name,
                    "endpoints": [
                        {
                            "lb_endpoints": [
                                {
                                    "endpoint": {
                                        "address": {
                                            "socket_address": {"address": "127.0.0.1", "port_value": upstream_port}
                                        }
                                    }
                                }
                            ]
                        }
                    ],
                },
            }
        )
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


async def exchange(port: int, parts: list[bytes], wait: float) -> tuple[bytes, bool]:
    """What came back, and whether the connection was closed by Envoy."""
    for _ in range(50):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except ConnectionError:
            await asyncio.sleep(0.1)
    out = b""
    closed = False
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.03)
        while True:
            data = await asyncio.wait_for(reader.read(65536), wait)
            if not data:
                closed = True
                break
            out += data
    except TimeoutError:
        pass
    except ConnectionError:
        closed = True
    writer.close()
    return out, closed


def _short(raw: bytes) -> str:
    """As text, without what differs from run to run, and without the filling of long fields."""
    text = re.sub("date: [^\r]*", "date: D", raw.decode("latin-1"))
    return re.sub("a{1000,}", "aaa", text)


async def main(prefix: str) -> None:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream_port = server.sockets[0].getsockname()[1]
    pairs = sorted({(case.listener, case.cluster) for case in CASES + UPSTREAM_CASES})
    start = random.randint(21000, 29000)
    ports = {pair: start + 1 + index for index, pair in enumerate(pairs)}
    record: dict[str, object] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    known = {case.name for case in CASES + UPSTREAM_CASES}
    record = {name: value for name, value in record.items() if name in known}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "envoy.json")
        path.write_text(json.dumps(config(ports, upstream_port, start)))
        log_path = Path(folder, "access.log")
        with log_path.open("wb") as log, Path(folder, "err.log").open("wb") as errors:
            process = subprocess.Popen(
                [
                    binary(),
                    "-c",
                    str(path),
                    "--base-id",
                    str(random.randint(1000, 30000)),
                    "--concurrency",
                    "1",
                    "-l",
                    "error",
                    "--file-flush-interval-msec",
                    "10",
                ],
                stdout=log,
                stderr=errors,
            )
            try:
                deadline = time.monotonic() + 10
                while time.monotonic() < deadline:
                    try:
                        _, probe = await asyncio.open_connection("127.0.0.1", start)
                        probe.close()
                        break
                    except ConnectionError:
                        await asyncio.sleep(0.1)
                await asyncio.sleep(0.3)
                if process.poll() is not None:
                    print(Path(folder, "err.log").read_text())
                    return
                for case in CASES + UPSTREAM_CASES:
                    if not case.name.startswith(prefix):
                        continue
                    upstream.received.clear()
                    upstream.answer = case.answer
                    upstream.close_after = case.close_after
                    before = log_path.stat().st_size
                    out, closed = await exchange(ports[(case.listener, case.cluster)], case.parts, 0.25)
                    await asyncio.sleep(0.05)
                    lines = log_path.read_bytes()[before:].decode("latin-1").splitlines()
                    seen = [_short(bytes(raw)) for raw in upstream.received.values()]
                    record[case.name] = {
                        "response": _short(out),
                        "closed": closed,
                        "log": lines,
                        "upstream": seen,
                    }
                    print(
                        case.name, "|", case.parts, "->\n   ", out, "closed" if closed else "open", lines, "\n   ", seen
                    )
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait()
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    server.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else ""))
