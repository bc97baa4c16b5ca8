from __future__ import annotations

import base64
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.config import scalar


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, 5), (5.0, 5), ("5", 5), ("-0", 0), ("1e3", 1000), ("10.0", 10), ("1.5e1", 15), (2**32 - 1, 2**32 - 1)],
)
def test_integers(value: object, expected: int) -> None:
    assert scalar.to_integer(value, 0, 2**32 - 1) == expected


@pytest.mark.parametrize(
    "value", [True, 1.5, "1.5", " 5", "05", "0x10", "", "+5", ".5", "1_000", None, [], {}, -1, 2**32, "1e30", math.inf]
)
def test_what_is_no_uint32(value: object) -> None:
    with pytest.raises(ValueError, match=r"expected an integer|out of range"):
        scalar.to_integer(value, 0, 2**32 - 1)


@given(st.integers(-(2**63), 2**63 - 1))
def test_large_integers_stay_exact(number: int) -> None:
    assert scalar.to_integer(str(number), *scalar.RANGES["int64"]) == number
    assert scalar.to_integer(number, *scalar.RANGES["int64"]) == number


@pytest.mark.parametrize(("value", "expected"), [(1, 1.0), (1.5, 1.5), ("2.5", 2.5), ("Infinity", math.inf)])
def test_doubles(value: object, expected: float) -> None:
    assert scalar.to_double(value) == expected


def test_what_is_no_double() -> None:
    assert math.isnan(scalar.to_double("NaN"))
    for value in (True, "1,5", "", "nan", None, "1e400", 10**400):
        with pytest.raises(ValueError, match=r"expected a number|out of range"):
            scalar.to_double(value)
    with pytest.raises(ValueError, match="out of range for a 32-bit float"):
        scalar.to_float(1e39)


@pytest.mark.parametrize(("value", "expected"), [(True, True), ("true", True), ("FALSE", False)])
def test_bools(value: object, expected: bool) -> None:
    assert scalar.to_bool(value) is expected


@pytest.mark.parametrize("value", [1, 0, "yes", "", None])
def test_what_is_no_bool(value: object) -> None:
    with pytest.raises(ValueError, match="expected true or false"):
        scalar.to_bool(value)


def test_texts() -> None:
    assert scalar.to_text("é") == "é"
    with pytest.raises(ValueError, match=r"expected a string, found the number 5 \(quote it\)"):
        scalar.to_text(5)
    with pytest.raises(ValueError, match=r"found true \(quote it\)"):
        scalar.to_text(True)
    with pytest.raises(ValueError, match="valid Unicode"):
        scalar.to_text("\ud800")


@given(st.binary())
def test_base64_in_every_spelling(data: bytes) -> None:
    for encoded in (base64.b64encode(data), base64.urlsafe_b64encode(data)):
        assert scalar.to_bytes(encoded.decode()) == data
        assert scalar.to_bytes(encoded.decode().rstrip("=")) == data


@pytest.mark.parametrize("value", ["ab*c", "a=bc", "a", 5, "é"])
def test_corrupt_base64(value: object) -> None:
    with pytest.raises(ValueError, match="base64"):
        scalar.to_bytes(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5s", (5, 0)),
        ("0.25s", (0, 250_000_000)),
        ("-1.5s", (-1, -500_000_000)),
        ("1.000000001s", (1, 1)),
        ("315576000000s", (315_576_000_000, 0)),
    ],
)
def test_durations(text: str, expected: tuple[int, int]) -> None:
    assert scalar.to_duration(text) == expected


@pytest.mark.parametrize("value", ["5", "1m", "1e3s", "1.0000000001s", "s", "315576000001s", 5, None, "1.s", " 1s"])
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        scalar.to_duration(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", (0, 0)),
        ("2001-09-09T01:46:40.5Z", (1_000_000_000, 500_000_000)),
        ("2001-09-09T03:46:40+02:00", (1_000_000_000, 0)),
        ("1969-12-31T23:59:59Z", (-1, 0)),
    ],
)
def test_timestamps(text: str, expected: tuple[int, int]) -> None:
    assert scalar.to_timestamp(text) == expected


@pytest.mark.parametrize("value", ["2001-09-09", "2001-13-09T01:46:40Z", 5, "2001-09-09T01:46:40"])
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(ValueError, match="expected a time"):
        scalar.to_timestamp(value)


def test_field_masks() -> None:
    assert scalar.to_field_mask("a,fooBar.bazQux") == ["a", "foo_bar.baz_qux"]
    assert scalar.to_field_mask("") == []
    with pytest.raises(ValueError, match="field paths"):
        scalar.to_field_mask(5)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ("x", 'the string "x"'),
        ("y" * 80, f'the string "{"y" * 57}..."'),
        ({}, "an object"),
        ([], "a list"),
        (1.5, "the number 1.5"),
    ],
)
def test_descriptions(value: object, text: str) -> None:
    assert scalar.describe(value) == text
