"""match_delegate, composite, ip_tagging, admission_control, sse_to_metadata, transform, tap: each in short. What they do
to traffic is compared with Envoy in tests/parity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from outrider.config.errors import ConfigError
from outrider.data.header_map import ResponseHeaderMap
from outrider.extensions.filters.http import admission_control, ip_tagging, match_delegate, tap, transform
from outrider.extensions.filters.http.admission_control import AdmissionFactory
from outrider.extensions.filters.http.sse_to_metadata import EventReader
from tests.extensions.filters.http.scene import Scene, request_headers

assert admission_control and ip_tagging and match_delegate and tap and transform
PACKAGE = "envoy.extensions.filters.http."
ANY = "type.googleapis.com/"


def matcher(name: str, action: dict[str, Any]) -> dict[str, Any]:
    """`action` when the request header `name` is "yes"."""
    condition = {"@type": ANY + "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": name}
    single = {"input": {"name": "i", "typed_config": condition}, "value_match": {"exact": "yes"}}
    return {"matcher_list": {"matchers": [{"predicate": {"single_predicate": single}, "on_match": {"action": action}}]}}


FAULT = {
    "name": "envoy.filters.http.fault",
    "typed_config": {
        "@type": ANY + PACKAGE + "fault.v3.HTTPFault",
        "abort": {"http_status": 503, "percentage": {"numerator": 100}},
    },
}


def test_match_delegate_leaves_out() -> None:
    from outrider.extensions.filters.http import fault

    assert fault
    skip = {"name": "s", "typed_config": {"@type": ANY + "envoy.extensions.filters.common.matcher.action.v3.SkipFilter"}}
    kind = "envoy.extensions.common.matching.v3.ExtensionWithMatcher"
    made = Scene("chosen", kind, {"extension_config": FAULT, "xds_matcher": matcher("x-skip", skip)})
    assert made.stream(request_headers()).out == ["reply 503 fault filter abort"]
    assert made.stream(request_headers(("x-skip", "yes"))).passed


def test_composite_chooses() -> None:
    from outrider.extensions.filters.http import fault

    assert fault
    execute = {"@type": ANY + PACKAGE + "composite.v3.ExecuteFilterAction", "typed_config": FAULT}
    config = {"matcher": matcher("x-abort", {"name": "a", "typed_config": execute})}
    made = Scene("composite", PACKAGE + "composite.v3.Composite", config)
    assert made.stream(request_headers()).passed
    assert made.stream(request_headers(("x-abort", "yes"))).out == ["reply 503 fault filter abort"]
    assert made.counter("composite.filter_delegation_success") == 1


def test_ip_tags() -> None:
    tags = [{"ip_tag_name": "ten", "ip_list": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}]
    made = Scene("ip_tagging", PACKAGE + "ip_tagging.v3.IPTagging", {"ip_tags": tags})
    headers = request_headers()
    assert made.stream(headers).route_cleared
    assert headers.get(b"x-envoy-ip-tags") == b"ten"
    assert made.counter("ip_tagging.ten.hit") == made.counter("ip_tagging.total") == 1


class HandDispatcher:
    def __init__(self) -> None:
        self.now = 1_000_000_000

    def monotonic_ns(self) -> int:
        return self.now


def test_admission_probability() -> None:
    dispatcher = HandDispatcher()
    config = {"success_criteria": {}, "sampling_window": "5s", "max_rejection_probability": {"default_value": {"value": 50}}}
    made = Scene("admission", PACKAGE + "admission_control.v3.AdmissionControl", config, dispatcher)
    assert isinstance(made.factory, AdmissionFactory)
    settings = made.factory.settings
    assert settings.probability() == 0
    for success in (True, True, True, False):
        settings.record(success)
    # (4 - 3 / 0.95) / 5
    assert settings.probability() == pytest.approx((4 - 3 / 0.95) / 5)
    for _ in range(40):
        settings.record(False)
    assert settings.probability() == 0.5
    dispatcher.now += 6_000_000_000
    assert settings.probability() == 0


def test_events_of_a_stream() -> None:
    reader = EventReader(20)
    assert reader.feed(b"\xef\xbb") == []
    assert reader.feed(b"\xbfdata: a\r\ndata:b\r\n\r") == []
    assert reader.feed(b"\n: comment\n\ndata: c") == [b"a\nb", None]
    assert reader.feed(b"\n\n") == [b"c"]
    assert reader.feed(b"data: " + b"x" * 30) == [] and reader.too_large == 1


def test_transform_merges() -> None:
    body = {"body_format": {"json_format": {"model": "new"}}, "action": "MERGE"}
    append = {"header": {"key": "x-model", "value": "%REQUEST_BODY(model)%"}}
    config = {"request_transformation": {"headers_mutations": [{"append": append}], "body_transformation": body}}
    made = Scene("transform", PACKAGE + "transform.v3.TransformConfig", config)
    headers = request_headers()
    stream = made.stream(headers, end=False)
    assert not stream.passed
    stream.remote_complete = True
    stream.run_decode_data(0, b'{"model": "old"}', True)
    assert stream.passed and headers.get(b"x-model") == b"old"
    with pytest.raises(ConfigError, match="MERGE needs"):
        bad = {"action": "MERGE", "body_format": {"text_format_source": {"inline_string": "x"}}}
        Scene("t", PACKAGE + "transform.v3.TransformConfig", {"request_transformation": {"body_transformation": bad}})


def test_tap_writes_files(tmp_path: Path) -> None:
    sink = {"format": "JSON_BODY_AS_STRING", "file_per_tap": {"path_prefix": str(tmp_path / "tap")}}
    static = {"match": {"any_match": True}, "output_config": {"sinks": [sink], "max_buffered_rx_bytes": 3}}
    made = Scene("tap", PACKAGE + "tap.v3.Tap", {"common_config": {"static_config": static}})
    stream = made.stream(request_headers(), end=False)
    stream.run_decode_data(0, b"hello", True)
    stream.encode_headers_from(None, ResponseHeaderMap(status=204), True)
    stream.run_on_stream_complete()
    (file,) = tmp_path.glob("tap_*.json")
    trace = json.loads(file.read_text())["http_buffered_trace"]
    assert trace["request"]["body"] == {"as_string": "hel", "truncated": True}
    assert {"key": ":status", "value": "204", "raw_value": ""} in trace["response"]["headers"]
    assert made.counter("tap.rq_tapped") == 1
