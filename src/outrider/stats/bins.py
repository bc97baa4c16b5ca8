"""Log-linear histogram bins, with the arithmetic of Envoy's histogram library.

A bin is named by the first two significant digits of its lower bound and a power of ten. Its key
is the integer `exponent * 100 + digits` with digits 10..99, so keys sort as their values do; key
0 holds the value zero. The bin of 12 is 112 (digits 12, exponent 1: 12 = 1.2 * 10**1) and covers
[12, 13); the bin of 1234 is 312 and covers [1200, 1300).
"""

from collections import Counter as Tally
from typing import Final

Bins = dict[int, int]

QUANTILES: Final = (0.0, 0.25, 0.5, 0.75, 0.90, 0.95, 0.99, 0.995, 0.999, 1.0)
"""The quantiles that every histogram shows."""

DEFAULT_BUCKETS: Final = (
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 30000.0,
    60000.0, 300000.0, 600000.0, 1800000.0, 3600000.0,
)  # fmt: skip
"""Upper bounds of the buckets shown when no `histogram_bucket_settings` entry matches."""

MAX_VALUE: Final = (1 << 64) - 1

SMALL_KEYS: Final = (0, *(value * 10 if value < 10 else 100 + value for value in range(1, 100)))


def bin_key(value: float) -> int:
    """The bin of a value. Fractions are cut off; the range is 0 to 2**64 - 1."""
    number = int(value)
    if number < 100:
        return SMALL_KEYS[number] if number > 0 else 0
    number = min(number, MAX_VALUE)
    exponent = len(str(number)) - 1
    return exponent * 100 + int(number // 10 ** (exponent - 1))


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
