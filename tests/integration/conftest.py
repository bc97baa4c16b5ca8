"""Fixtures of the integration tests: every test here starts processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.proxy_process import ProxyProcess

Starter = Callable[..., ProxyProcess]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/integration" in item.path.as_posix():
            item.add_marker(pytest.mark.integration)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts Outrider with (configuration, admin port), waits until it is ready, and ends it after the test."""
    running: list[ProxyProcess] = []

    def begin(config: str, admin_port: int, concurrency: int = 1) -> ProxyProcess:
        proxy = ProxyProcess("outrider", config, admin_port, tmp_path, concurrency=concurrency)
        running.append(proxy)
        proxy.wait_ready()
        return proxy

    yield begin
    for proxy in running:
        proxy.stop()
