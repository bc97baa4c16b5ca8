"""A small HTTP/1.1 server to proxy to: shows what it received, and misbehaves on request.

/                 a page with the request as it arrived
/json             the same as JSON
/status/<code>    that status
/delay/<ms>       answers after a while
/bytes/<count>    a body of that many bytes
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import socket
from typing import Final

DEFAULT_PORT: Final = 10080
MAX_HEAD: Final = 65536
MAX_BODY: Final = 16 * 1024 * 1024
MAX_DELAY_MS: Final = 60_000
MAX_BYTES: Final = 64 * 1024 * 1024

_PAGE: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Outrider demo</title><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:760px;margin:48px auto;padding:0 20px;color:#1b2125}}
h1{{font-size:24px}} table{{border-collapse:collapse;width:100%;font:14px/1.6 ui-monospace,monospace}}
td{{border-top:1px solid #e2e6e9;padding:4px 8px;vertical-align:top;word-break:break-all}}
td:first-child{{color:#0d7a6f}}
</style></head><body><h1>It works.</h1>
<p>This page comes from the demonstration upstream, through Outrider. It received <code>{method} {path}</code> with:</p>
<table>{rows}</table></body></html>
"""


class Request:
    """A parsed request."""

    def __init__(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body


def open_socket(port: int) -> socket.socket:
    """A listening socket on the loopback interface; any free port when this one is taken."""
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind(("127.0.0.1", port))
    except OSError:
        opened.bind(("127.0.0.1", 0))
    opened.listen(256)
    return opened


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """None at the end of the connection, or for what is no request."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        return None
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3:
        return None
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name, value.strip()))
    body = b""
    lengths = {name.lower(): value for name, value in headers}
    if lengths.get("transfer-encoding", "").lower() == "chunked":
        body = await read_chunks(reader)
    elif lengths.get("content-length", "").isdigit():
        body = await reader.readexactly(min(int(lengths["content-length"]), MAX_BODY))
    return Request(parts[0], parts[1], headers, body)


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks: list[bytes] = []
    while True:
        size = int((await reader.readline()).partition(b";")[0], 16)
        chunk = await reader.readexactly(min(size, MAX_BODY))
        await reader.readline()
        if size == 0:
            return b"".join(chunks)
        chunks.append(chunk)


async def respond(request: Request) -> tuple[int, str, bytes]:
    """Status, content type, body."""
    path = request.path.partition("?")[0]
    kind, _, argument = path[1:].partition("/")
    number = int(argument) if argument.isascii() and argument.isdigit() else None
    if kind == "status" and number is not None and 200 <= number <= 599:
        return number, "text/plain", f"status {number}\n".encode()
    if kind == "delay" and number is not None:
        await asyncio.sleep(min(number, MAX_DELAY_MS) / 1000)
        return 200, "text/plain", f"after {min(number, MAX_DELAY_MS)} ms\n".encode()
    if kind == "bytes" and number is not None:
        return 200, "application/octet-stream", b"x" * min(number, MAX_BYTES)
    if kind == "json":
        tree = {"method": request.method, "path": request.path, "headers": request.headers, "body": len(request.body)}
        return 200, "application/json", json.dumps(tree, indent=1).encode() + b"\n"
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in request.headers
    )
    page = _PAGE.format(method=html.escape(request.method), path=html.escape(request.path), rows=rows)
    return 200, "text/html; charset=utf-8", page.encode()


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, kept alive."""
    try:
        while (request := await read_request(reader)) is not None:
            status, content_type, body = await respond(request)
            bodiless = status in (204, 304)
            head = f"HTTP/1.1 {status} Demo\r\ncontent-type: {content_type}\r\n"
            if not bodiless:
                head += f"content-length: {len(body)}\r\n"
            writer.write(head.encode() + b"\r\n")
            if request.method != "HEAD" and not bodiless:
                writer.write(body)
            await writer.drain()
    except (ConnectionError, ValueError, asyncio.IncompleteReadError):
        pass  # the proxy (or the demonstration) went away
    finally:
        with contextlib.suppress(ConnectionError):
            writer.close()


def serve(opened: socket.socket, parent: int | None = None) -> None:
    """Until interrupted, or until the descriptor `parent` (a pipe held by another process) ends."""

    async def run() -> None:
        server = await asyncio.start_server(handle, sock=opened, limit=MAX_HEAD)
        if parent is not None:
            asyncio.get_running_loop().add_reader(parent, server.close)
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve_forever()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())
