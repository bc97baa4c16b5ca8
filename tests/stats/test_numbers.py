"""Number formats."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.stats.numbers import fifteen_digits, json_number, shortest, six_digits, split_digits, thirty_two_digits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.5, "0.5"),
        (-3.0500000000000003, "-3.0500000000000003"),
        (10000.0, "10000"),
        (100000.0, "1e+05"),
        (300000.0, "3e+05"),
        (1800000.0, "1800000"),
        (123456.0, "123456"),
        (1e15, "1e+15"),
        (1.5e20, "1.5e+20"),
        (0.09999999999999999, "0.09999999999999999"),
        (0.001, "0.001"),
        (0.0001, "1e-04"),
        (math.nan, "null"),
    ],
)
def test_json_number(value: float, text: str) -> None:
    assert json_number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_json_number_reads_back(value: float) -> None:
    assert float(json.loads(json_number(value))) == value


@given(st.floats(min_value=1e-300, allow_infinity=False))
def test_split_digits(value: float) -> None:
    digits, exponent = split_digits(value)
    assert float(f"{digits[0]}.{digits[1:] or '0'}e{exponent}") == value


def test_other_formats() -> None:
    assert (shortest(205.0), shortest(1.05), shortest(math.nan), shortest(1e16)) == ("205", "1.05", "nan", "1e+16")
    assert (six_digits(1800000.0), six_digits(300000.0)) == ("1.8e+06", "300000")
    assert (fifteen_digits(110.00000000000001), fifteen_digits(1e14), fifteen_digits(1e15)) == (
        "110",
        "100000000000000",
        "1e+15",
    )
    assert thirty_two_digits(2.0952380952380953) == "2.0952380952380953438307642500149"
