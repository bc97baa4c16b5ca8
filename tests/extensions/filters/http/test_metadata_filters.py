"""header_to_metadata and set_metadata: merging and configuration faults. Values are in tests/parity."""

from __future__ import annotations

import pytest

from outrider.config.errors import ConfigError
from outrider.extensions.filters.http import header_to_metadata, set_metadata
from tests.extensions.filters.http.scene import Scene, request_headers

assert header_to_metadata
SET = "envoy.extensions.filters.http.set_metadata.v3.Config"
HEADER = "envoy.extensions.filters.http.header_to_metadata.v3.Config"


def test_merging() -> None:
    into: dict[str, object] = {"a": 1, "list": [1], "deep": {"x": 1}}
    set_metadata.merge(into, {"a": 2, "list": [2], "deep": {"y": 2}})
    assert into == {"a": 2, "list": [1, 2], "deep": {"x": 1, "y": 2}}


def test_requests_do_not_share_what_they_change() -> None:
    entry = {"metadata_namespace": "n", "value": {"list": [1]}, "allow_overwrite": True}
    scene = Scene("s", SET, {"metadata": [entry, entry]})
    for _ in range(2):
        stream = scene.stream(request_headers())
        assert stream.stream_info.get_metadata("n") == {"list": [1, 1]}


def test_denied_overwrite_is_counted() -> None:
    entry = {"metadata_namespace": "n", "value": {"a": 1}}
    scene = Scene("s", SET, {"metadata": [entry, entry]})
    scene.stream(request_headers())
    assert scene.counter("set_metadata.overwrite_denied") == 1


@pytest.mark.parametrize(
    "rule",
    [
        {"header": "a"},
        {"on_header_present": {"key": "k"}},
        {"header": "a", "cookie": "b", "on_header_present": {"key": "k"}},
        {"cookie": "b", "remove": True, "on_header_present": {"key": "k"}},
        {"header": "a", "on_header_missing": {"key": "k"}},
    ],
)
def test_refused_rules(rule: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Scene("h", HEADER, {"request_rules": [rule]})
