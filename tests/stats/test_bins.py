"""Histogram bins and their arithmetic."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.stats.bins import (
    MAX_VALUE,
    QUANTILES,
    Bins,
    approx_quantiles,
    approx_sum,
    bin_key,
    bin_left,
    bin_value,
    bin_width,
    counts_below,
    fold_values,
    sample_count,
)

VALUES = st.integers(0, MAX_VALUE)


def bins_of(values: list[float]) -> Bins:
    bins: Bins = {}
    fold_values(values, bins)
    return bins


@pytest.mark.parametrize(
    ("value", "left", "width"),
    [
        (0, 0, 0),
        (1, 1, 0.1),
        (9, 9, 0.1),
        (10, 10, 1),
        (99, 99, 1),
        (100, 100, 10),
        (109, 100, 10),
        (12345, 12000, 1000),
        (1.99, 1, 0.1),
        (-4, 0, 0),
    ],
)
def test_bin_of_a_value(value: float, left: float, width: float) -> None:
    key = bin_key(value)
    assert bin_left(key) == pytest.approx(left)
    assert bin_width(key) == pytest.approx(width)


def test_values_beyond_64_bits_share_the_last_bin() -> None:
    assert bin_key(MAX_VALUE) == bin_key(10**30) == bin_key(1e300)


@given(VALUES)
def test_a_bin_holds_its_value(value: int) -> None:
    key = bin_key(value)
    assert bin_left(key) <= value * (1 + 1e-12)
    assert value <= (bin_left(key) + bin_width(key)) * (1 + 1e-12)
    assert abs(bin_value(key) - value) <= value * 0.05 + 1e-9


@given(VALUES, VALUES)
def test_keys_sort_as_values(a: int, b: int) -> None:
    assert (bin_key(a) <= bin_key(b)) or a > b


@given(st.lists(VALUES, max_size=50), st.lists(VALUES, max_size=50), st.lists(VALUES, max_size=50))
def test_folding_is_associative_and_counts_all(a: list[float], b: list[float], c: list[float]) -> None:
    left = bins_of(a)
    fold_values(b, left)
    fold_values(c, left)
    right = bins_of(c)
    fold_values(b + a, right)
    assert left == right == bins_of(a + b + c)
    assert sample_count(left) == len(a) + len(b) + len(c)


@given(st.lists(VALUES, min_size=1, max_size=100))
def test_quantiles_are_monotone_and_within_the_range(values: list[float]) -> None:
    bins = bins_of(values)
    quantiles = approx_quantiles(bins)
    assert quantiles == sorted(quantiles)
    assert bin_left(min(bins)) <= quantiles[0]
    assert quantiles[-1] <= bin_left(max(bins)) + bin_width(max(bins))


@given(st.lists(st.integers(1, 10**15), min_size=1, max_size=100))
def test_quantiles_are_near_the_true_ones(values: list[float]) -> None:
    ordered = sorted(values)
    for quantile, estimate in zip(QUANTILES, approx_quantiles(bins_of(values)), strict=True):
        true = ordered[max(math.ceil(len(ordered) * quantile), 1) - 1]
        assert estimate == pytest.approx(true, rel=0.11)


@given(st.lists(VALUES, max_size=100))
def test_sum_is_near_the_true_one(values: list[float]) -> None:
    assert approx_sum(bins_of(values)) == pytest.approx(sum(values), rel=0.06, abs=1e-9)


@given(st.lists(VALUES, max_size=60), st.lists(st.integers(1, 10**6), min_size=1, max_size=10))
def test_bucket_counts_grow_with_their_bounds(values: list[float], bounds: list[float]) -> None:
    bounds = sorted(bounds)
    counts = counts_below(bins_of(values), bounds)
    assert counts == sorted(counts)
    assert counts_below(bins_of(values), [float(MAX_VALUE) * 2]) == [len(values)]


def test_no_values_have_no_quantiles() -> None:
    assert all(math.isnan(value) for value in approx_quantiles({}))
    assert approx_sum({}) == 0
    assert counts_below({}, [1, 2]) == [0, 0]
