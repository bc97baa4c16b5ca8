from __future__ import annotations

import pytest

from outrider.data.address import ip_address
from outrider.data.filter_state import StringState
from outrider.matching.value_matcher import parse_filter_state_matcher, parse_metadata_matcher
from tests.matching.support import stream_info, view_of

METADATA: dict[str, dict[str, object]] = {
    "f": {"null": None, "number": 5.0, "text": "abc", "yes": True, "list": ["a", 1.0], "deep": {"er": "x"}}
}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("null", {"null_match": {}}, True),
        ("text", {"null_match": {}}, False),
        ("missing", {"null_match": {}}, False),
        ("number", {"double_match": {"exact": 5}}, True),
        ("number", {"double_match": {"range": {"start": 5, "end": 6}}}, True),
        ("number", {"double_match": {"range": {"start": 4, "end": 5}}}, False),
        ("yes", {"double_match": {"exact": 1}}, False),
        ("text", {"string_match": {"prefix": "ab"}}, True),
        ("number", {"string_match": {"exact": "5"}}, False),
        ("yes", {"bool_match": True}, True),
        ("yes", {"bool_match": False}, False),
        ("text", {"present_match": True}, True),
        ("missing", {"present_match": True}, False),
        ("missing", {"present_match": False}, True),
        ("list", {"list_match": {"one_of": {"string_match": {"exact": "a"}}}}, True),
        ("list", {"list_match": {"one_of": {"string_match": {"exact": "b"}}}}, False),
        ("text", {"or_match": {"value_matchers": [{"bool_match": True}, {"string_match": {"exact": "abc"}}]}}, True),
        ("deep.er", {"string_match": {"exact": "x"}}, True),
        ("deep.none", {"present_match": True}, False),
        ("text.deeper", {"present_match": True}, False),
    ],
)
def test_metadata(path: str, value: dict[str, object], expected: bool) -> None:
    config = {"filter": "f", "path": [{"key": key} for key in path.split(".")], "value": value}
    view = view_of("envoy.type.matcher.v3.MetadataMatcher", config)
    assert parse_metadata_matcher(view).matches(METADATA) is expected
    assert view.unread() == []
    inverted = parse_metadata_matcher(view_of("envoy.type.matcher.v3.MetadataMatcher", {**config, "invert": True}))
    assert inverted.matches(METADATA) is not expected


def test_no_metadata_at_all() -> None:
    config = {"filter": "f", "path": [{"key": "a"}], "value": {"present_match": False}}
    assert parse_metadata_matcher(view_of("envoy.type.matcher.v3.MetadataMatcher", config)).matches(None)


@pytest.mark.parametrize(
    ("config", "value", "expected"),
    [
        ({"string_match": {"exact": "v"}}, StringState("v"), True),
        ({"string_match": {"exact": "v"}}, "v", True),
        ({"string_match": {"exact": "v"}}, StringState("w"), False),
        ({"string_match": {"exact": "v"}}, None, False),
        ({"string_match": {"exact": "v"}}, object(), False),
        (
            {"address_match": {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}},
            ip_address("10.1.1.1", 0),
            True,
        ),
        ({"address_match": {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}}, "11.1.1.1", False),
        (
            {"address_match": {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}], "invert_match": True}},
            "11.1.1.1",
            True,
        ),
        ({"address_match": {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}}, "nonsense", False),
    ],
)
@pytest.mark.parametrize("on_connection", [False, True])
def test_filter_state(config: dict[str, object], value: object, expected: bool, on_connection: bool) -> None:
    matcher = parse_filter_state_matcher(view_of("envoy.type.matcher.v3.FilterStateMatcher", {"key": "k", **config}))
    info = stream_info()
    state = {} if value is None else {"k": value}
    if on_connection:
        info.connection.filter_state = state
    else:
        info.filter_state = state
    assert matcher.matches(info) is expected
