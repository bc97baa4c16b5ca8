"""A proxy for tests: in a background thread, with ports of its own.

    with outrider.testing.running(config) as proxy:
        requests.get(proxy.url("listener_0", "/path"))

With pytest, `pytest_plugins = ["outrider.testing"]` gives the fixture `outrider_proxy`, a function that starts proxies
and ends them after the test:

    def test_retry(outrider_proxy):
        proxy = outrider_proxy({"static_resources": {...}})

Let listeners bind port 0 and ask `proxy.port("name")` for what they got.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from outrider.server.embedded import Server

T = TypeVar("T")

Config = str | Path | dict[str, Any]


class TestProxy:
    """A running proxy as a test sees it. All methods may be called from any thread."""

    __test__ = False

    def __init__(self, config: Config, **options: Any) -> None:
        """`options` are those of `outrider.Server`. Raises ConfigError or BindError."""
        from outrider.event.dispatcher import new_event_loop
        from outrider.server.embedded import Server

        self.server: Server = Server(config, **options)
        self._loop = new_event_loop()
        self._thread = threading.Thread(target=self._run, name="outrider", daemon=True)
        self._thread.start()
        try:
            self._call(self.server.start())
        except BaseException:
            self._end()
            raise

    def port(self, listener: str) -> int:
        """The port of a listener. Raises KeyError."""
        return self.server.address(listener)[1]

    def url(self, listener: str, path: str = "/", scheme: str = "http") -> str:
        host, port = self.server.address(listener)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        shown = f"[{host}]" if ":" in host else host
        return f"{scheme}://{shown}:{port}{path}"

    @property
    def admin_url(self) -> str:
        """Raises RuntimeError when the configuration has no admin interface."""
        address = self.server.admin_address
        if address is None:
            raise RuntimeError("the configuration has no admin interface")
        return f"http://{address[0]}:{address[1]}"

    def stats(self, prefix: str = "") -> dict[str, int]:
        """Counters and gauges by name."""
        return self._call(self.server.stats(prefix))

    def stop(self) -> None:
        """End it. Safe to call twice."""
        if self._thread.is_alive():
            self._call(self.server.stop())
            self._end()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def running(config: Config, **options: Any) -> Iterator[TestProxy]:
    """A proxy for the length of a `with` block."""
    proxy = TestProxy(config, **options)
    try:
        yield proxy
    finally:
        proxy.stop()


def _start_proxies() -> Iterator[Callable[..., TestProxy]]:
    started: list[TestProxy] = []

    def start(config: Config, **options: Any) -> TestProxy:
        proxy = TestProxy(config, **options)
        started.append(proxy)
        return proxy

    yield start
    for proxy in started:
        proxy.stop()


try:
    import pytest
except ImportError:  # the context manager works without pytest
    pass
else:
    outrider_proxy = pytest.fixture(_start_proxies, name="outrider_proxy")
