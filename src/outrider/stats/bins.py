"""Log-linear histogram bins, with the arithmetic of Envoy's histogram library.

A bin is named by the first two significant digits of its lower bound and a power of ten. Its key
is the integer `exponent * 100 + digits` with digits 10..99, so keys sort as their values do; key
0 holds the value zero. The bin of 12 is 112 (digits 12, exponent 1: 12 = 1.2 * 10**1) and covers
[12, 13); the bin of 1234 is 312 and covers [1200, 1300).
"""

import math
from collections import Counter as Tally
from collections.abc import Sequence
from typing import Final

Bins = dict[int, int]

QUANTILES: Final[tuple[float, ...]] = (0.0, 0.25, 0.5, 0.75, 0.90, 0.95, 0.99, 0.995, 0.999, 1.0)
"""The quantiles that every histogram shows."""

DEFAULT_BUCKETS: Final[tuple[float, ...]] = (
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 30000.0,
    60000.0, 300000.0, 600000.0, 1800000.0, 3600000.0,
)  # fmt: skip
"""Upper bounds of the buckets shown when no `histogram_bucket_settings` entry matches."""

MAX_VALUE: Final = (1 << 64) - 1

# How many values have their bin in a table.
SMALL: Final = 1000


def compute_key(number: int) -> int:
    """The bin of a whole number from 1 to MAX_VALUE."""
    exponent = len(str(number)) - 1
    return exponent * 100 + (number * 10 if exponent == 0 else number // 10 ** (exponent - 1))


SMALL_KEYS: Final = [0] + [compute_key(number) for number in range(1, SMALL)]


def bin_key(value: float) -> int:
    """The bin of a value. Fractions are cut off; the range is 0 to 2**64 - 1."""
    number = int(value)
    if number < SMALL:
        return SMALL_KEYS[number] if number > 0 else 0
    return compute_key(min(number, MAX_VALUE))


def fold_values(values: list[float], bins: Bins) -> None:
    """Count each value into its bin."""
    for value, count in Tally(values).items():
        key = bin_key(value)
        bins[key] = bins.get(key, 0) + count


def bin_width(key: int) -> float:
    """The distance between a bin's bounds."""
    return 10.0 ** (key // 100) / 10.0 if key else 0.0


def bin_left(key: int) -> float:
    """A bin's lower bound."""
    return (key % 100) / 10.0 * 10.0 ** (key // 100) if key else 0.0


def bin_value(key: int) -> float:
    """One number that stands for a bin: exact below 100, else the middle."""
    left = bin_left(key)
    return left if key < 200 else left + bin_width(key) / 2


def bin_midpoint(key: int) -> float:
    """The mean that a bin's values contribute to a sum: nearer to the lower bound, as in Envoy."""
    left = bin_left(key)
    width = bin_width(key)
    return left + width * (left / (left + left + width)) if key else 0.0


def sample_count(bins: Bins) -> int:
    return sum(bins.values())


def approx_sum(bins: Bins) -> float:
    """The sum of all values, with the precision of the bins."""
    total = 0.0
    for key in sorted(bins):
        total += bin_midpoint(key) * bins[key]
    return total


def approx_quantiles(bins: Bins, quantiles: Sequence[float] = QUANTILES) -> list[float]:
    """The values at some quantiles (ascending, 0 to 1); NaN for all when there are no values.

    The value at quantile q of n is the ceil(q * n)-th smallest, at least the first. The k-th of a
    bin's c values is assumed at k / (c + 1) of the bin's width.
    """
    total = sum(bins.values())
    if not total:
        return [math.nan] * len(quantiles)
    keys = sorted(bins)
    at = 0
    below = 0
    here = bins[keys[0]]
    result: list[float] = []
    for quantile in quantiles:
        rank = max(math.ceil(total * quantile), 1)
        while below + here < rank and at < len(keys) - 1:
            below += here
            at += 1
            here = bins[keys[at]]
        key = keys[at]
        result.append(bin_left(key) + (rank - below) / (here + 1) * bin_width(key))
    return result


def counts_below(bins: Bins, bounds: Sequence[float], scale: float = 1.0) -> list[int]:
    """For each upper bound (ascending), the number of values in bins that begin at or below it."""
    keys = sorted(bins)
    at = 0
    count = 0
    result: list[int] = []
    for bound in bounds:
        limit = bound * scale
        while at < len(keys) and bin_left(keys[at]) <= limit:
            count += bins[keys[at]]
            at += 1
        result.append(count)
    return result
