"""Filters of your own: plain classes, no build step. Try them with `outrider -c examples/hello_filters.yaml`."""

from __future__ import annotations

import asyncio

from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.http.filter import HEADERS_CONTINUE, HEADERS_STOP_ITERATION, HttpFilter
from outrider.network.filter import CONTINUE, STOP, NetworkFilter
from outrider.network.listener_filter import ListenerFilter, ListenerFilterChain


class Greeting(HttpFilter):
    """Answers /greet itself and signs every response."""

    def __init__(self, config: dict[str, object]) -> None:
        self.name = str(config.get("name", "world"))

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        if headers.path == b"/greet":
            self.manager.send_local_reply(200, f"Hello, {self.name}!\n", "greeting")
            return HEADERS_STOP_ITERATION
        headers.set(b"x-greeted", self.name.encode())
        return HEADERS_CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        headers.set(b"x-signed-by", self.name.encode())
        return HEADERS_CONTINUE


class SlowCheck(HttpFilter):
    """An asynchronous hook: the request waits until it returns."""

    def __init__(self, config: dict[str, object]) -> None:
        self.seconds = float(str(config.get("seconds", 0.05)))

    async def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:  # type: ignore[override]
        await asyncio.sleep(self.seconds)
        headers.set(b"x-checked", b"yes")


class Shout(NetworkFilter):
    """A terminal network filter: sends everything back in capitals."""

    is_terminal = True

    def __init__(self, config: dict[str, object]) -> None:
        self.suffix = str(config.get("suffix", "")).encode()

    def on_data(self, data: bytes, end_stream: bool) -> int:
        if data == b"crash\n":
            raise RuntimeError("asked to")
        self.connection.write(data.upper() + self.suffix, end_stream)
        return STOP


class Tag(ListenerFilter):
    """A listener filter: notes a server name for filter chain matching before any byte is read."""

    def __init__(self, config: dict[str, object]) -> None:
        self.server_name = str(config.get("server_name", ""))

    def on_accept(self, callbacks: ListenerFilterChain) -> int:
        callbacks.info.requested_server_name = self.server_name
        return CONTINUE
