"""JSON lines, byte for byte as Envoy 1.40 wrote them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.access_log.context import FormatContext
from outrider.access_log.json_format import parse_json_format
from outrider.access_log.json_text import double_text, json_text, quoted
from outrider.access_log.syntax import FormatError

from . import scene

TEMPLATE: dict[str, object] = {
    "z": "%PROTOCOL%",
    "a": {"y": "%DURATION%", "b": ["%REQ(x)%", 1.0, True, None, {"q": "%REQ(nope)%"}]},
    "num": 5.0,
    "fl": 1.5,
    "big": 1e21,
    "t": True,
    "n": None,
    "mix": "a %RESPONSE_CODE% b",
    "two": "%RESPONSE_CODE%%RESPONSE_CODE%",
    "esc": 'lit"\\\n\u00e9\u0001/<>&\u2028\x7f',
    'k"e\ny': "%REQ(x-q)%",
    "bad": "%REQ(x-bad)%",
    "bad2": "x%REQ(x-bad)%y",
    "mixed": "\u00e9%REQ(x-bad)%%REQ(x-utf8)%",
    "nope": "%REQ(nope)%",
    "nope2": "a%REQ(nope)%",
    "empty": "",
    "emptylist": [],
    "emptyobj": {},
    "nestedempty": {"a": "%REQ(nope)%"},
    "u": "%REQ(x-utf8)%",
    "pct": "100%%",
    "pct2": "%%%PROTOCOL%",
    "one": " %DURATION%",
    "md": "%METADATA(ROUTE:rm)%",
    "mdmix": "x%METADATA(ROUTE:rm)%",
    "emptyv": "%REQ(x-empty)%",
    "cf": "%CUSTOM_FLAGS%",
    "uc": "%UPSTREAM_CONNECTION_ID%",
}


def context() -> FormatContext:
    made = scene.local_answer()
    made.request_headers = scene.request_headers(
        b"/p?x",
        (b"x-empty", b""),
        (b"x-utf8", b"\xc3\xa9x\xe2\x82\xac\xf0\x9f\x98\x80\xe2\x80\xa8"),
        (b"x-bad", b"a\xe9b\xc3"),
        (b"x-q", b"a\"b\\c\td<e/>&'"),
    )
    made.stream_info.end_ns = made.stream_info.start_mono_ns
    made.stream_info.end_ns += 1
    made.stream_info.route = scene.FakeOwner({"rm": {"z": 1.5, "a": 1e21, "s": '\u00e9"', "n": -3.0}})
    return made


FULL = (
    b'{"a":{"b":[null,1,true,null,{"q":null}],"y":0},"bad":"a\\u00e9b\\u00c3","bad2":"xa\\u00e9b\\u00c3y","big":1e+21,'
    b'"cf":"","empty":"","emptylist":[],"emptyobj":{},"emptyv":"",'
    b'"esc":"lit\\"\\\\\\n\xc3\xa9\\u0001/<>&\xe2\x80\xa8\x7f","fl":1.5,"k\\"e\\ny":"a\\"b\\\\c\\td<e/>&\'",'
    b'"md":{"a":1e+21,"n":-3,"s":"\xc3\xa9\\"","z":1.5},'
    b'"mdmix":"x{\\"a\\":1e+21,\\"n\\":-3,\\"s\\":\\"\xc3\xa9\\\\\\"\\",\\"z\\":1.5}",'
    b'"mix":"a 200 b","mixed":"\xc3\xa9a\\u00e9b\\u00c3\xc3\xa9x\xe2\x82\xac\xf0\x9f\x98\x80\xe2\x80\xa8","n":null,'
    b'"nestedempty":{"a":null},"nope":null,"nope2":"a-","num":5,"one":" 0","pct":"100%","pct2":"%HTTP/1.1","t":true,'
    b'"two":"200200","u":"\xc3\xa9x\xe2\x82\xac\xf0\x9f\x98\x80\xe2\x80\xa8","uc":0,"z":"HTTP/1.1"}\n'
)


def test_everything_at_once() -> None:
    assert parse_json_format(TEMPLATE).format_bytes(context()) == FULL


def test_without_empty_values() -> None:
    expected = FULL
    for gone, left in [
        (b'[null,1,true,null,{"q":null}]', b"[1,true]"),
        (b'"emptyobj":{},', b""),
        (b'"n":null,"nestedempty":{"a":null},"nope":null,"nope2":"a-"', b'"nope2":"a"'),
    ]:
        assert gone in expected
        expected = expected.replace(gone, left)
    assert parse_json_format(TEMPLATE, (), True).format_bytes(context()) == expected


def test_nothing_left() -> None:
    template: dict[str, object] = {
        "a": "%REQ(nope)%",
        "b": {"c": {"d": "%REQ(nope)%"}},
        "l": ["%REQ(nope)%"],
    }
    assert parse_json_format(template, (), True).format_bytes(context()) == b'{"l":[]}\n'
    assert parse_json_format({}, (), True).format_bytes(context()) == b"{}\n"
    assert parse_json_format({}).format_bytes(context()) == b"{}\n"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"a": "%FOO%"}, "Not supported field in StreamInfo: FOO"),
        ({"a": {"b": ["%REQ%"]}}, "REQ requires parameters"),
    ],
)
def test_refused(template: dict[str, object], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parse_json_format(template)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.5, "1.5"),
        (1e21, "1e+21"),
        (1e10, "1e+10"),
        (0.1, "0.1"),
        (1e-7, "1e-07"),
        (-3.0, "-3"),
        (123456789012345680.0, "123456789012345680"),
        (3.141592653589793, "3.141592653589793"),
        (1e15, "1e+15"),
        (1.0, "1"),
        (100000.5, "100000.5"),
        (1 / 3, "0.3333333333333333"),
        (0.30000001192092896, "0.30000001192092896"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (-0.0, "-0"),
        (9007199254740993.0, "9007199254740992"),
        (9223372036854775807.0, "9223372036854775808"),
        (1e6, "1e+06"),
        (0.0001, "1e-04"),
        (0.00001, "1e-05"),
        (123456.789, "123456.789"),
    ],
)
def test_doubles(number: float, text: str) -> None:
    assert double_text(number).decode() == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_read_back(number: float) -> None:
    assert float(double_text(number)) == number


@given(st.binary(max_size=40))
def test_any_bytes_make_valid_json(data: bytes) -> None:
    json.loads(quoted(data))


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(TREES)
def test_any_value_reads_back(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert json.loads(json_text(value)) == value


@given(st.dictionaries(st.text(alphabet="ab", max_size=2), TREES, max_size=3))
def test_templates_without_commands_print_themselves(template: dict[str, object]) -> None:
    try:
        plain = json.loads(json.dumps(template).replace("%", ""))
        json.dumps(plain, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert json.loads(parse_json_format(plain).format_bytes(context())) == plain
