"""envoy.filters.http.json_to_metadata: bodies in pieces and hostile ones. Values are in tests/parity."""

from __future__ import annotations

import pytest

from outrider.config.errors import ConfigError
from outrider.extensions.filters.http import json_to_metadata
from tests.extensions.filters.http.scene import Scene, request_headers

assert json_to_metadata
TYPE = "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata"
RULE = {
    "selectors": [{"key": "a"}],
    "on_present": {"metadata_namespace": "n", "key": "k"},
    "on_error": {"metadata_namespace": "n", "key": "k", "value": "broken"},
}
JSON = ("content-type", "application/json; charset=utf-8")


@pytest.mark.parametrize(
    ("chunks", "stored"),
    [([b'{"a"', b": 1", b"}"], 1.0), ([b"[" * 900] * 2 + [b"["], "broken"), ([b'{"a": 1'], "broken")],
)
def test_body_in_pieces(chunks: list[bytes], stored: object) -> None:
    scene = Scene("j", TYPE, {"request_rules": {"rules": [RULE]}})
    stream = scene.stream(request_headers(JSON, method="POST"), end=False)
    stream.set_decoder_buffer_limit(10_000)
    for index, chunk in enumerate(chunks):
        assert not stream.passed
        stream.remote_complete = index == len(chunks) - 1
        stream.run_decode_data(0, chunk, stream.remote_complete)
    assert stream.passed
    assert stream.stream_info.get_metadata("n") == {"k": stored}


def test_values_for_missing_and_error_must_be_given() -> None:
    with pytest.raises(ConfigError):
        Scene("j", TYPE, {"request_rules": {"rules": [{"selectors": [{"key": "a"}], "on_missing": {"key": "k"}}]}})
