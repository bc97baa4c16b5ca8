"""The conformance tests need the binding of nghttp2, which an interpreted checkout may not have."""

from __future__ import annotations

import pytest

from outrider.native import load_http2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if load_http2.AVAILABLE:
        return
    skip = pytest.mark.skip(reason="libnghttp2 was not there when this was built")
    for item in items:
        if "tests/http2/" in item.path.as_posix():
            item.add_marker(skip)
