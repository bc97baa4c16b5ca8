"""What an exposition shows of a histogram: quantiles, buckets, sum and count of some bins."""

from outrider.stats.bins import QUANTILES, Bins, approx_quantiles, approx_sum, bin_left, bin_width, counts_below
from outrider.stats.metrics import PERCENT_SCALE, UNIT_PERCENT, Histogram


class HistogramStatistics:
    """Reads bins in the unit of their histogram: percentages are scaled back."""

    __slots__ = ("bins", "scale")

    def __init__(self, bins: Bins, unit: int) -> None:
        self.bins = bins
        self.scale = PERCENT_SCALE if unit == UNIT_PERCENT else 1

    @staticmethod
    def cumulative(histogram: Histogram) -> "HistogramStatistics":
        return HistogramStatistics(histogram.cumulative, histogram.unit)

    @staticmethod
    def interval(histogram: Histogram) -> "HistogramStatistics":
        return HistogramStatistics(histogram.interval, histogram.unit)

    def quantiles(self) -> list[float]:
        """The values at `bins.QUANTILES`; NaN when there are no values."""
        values = approx_quantiles(self.bins, QUANTILES)
        return values if self.scale == 1 else [value / self.scale for value in values]

    def sum(self) -> float:
        total = approx_sum(self.bins)
        # Multiplied, not divided as above, so that the last digits come out as Envoy's.
        return total if self.scale == 1 else total * (1.0 / self.scale)

    def count(self) -> int:
        return sum(self.bins.values())

    def buckets(self, bounds: tuple[float, ...]) -> list[int]:
        """The number of values below each bound."""
        return counts_below(self.bins, bounds, self.scale)

    def disjoint_buckets(self, bounds: tuple[float, ...]) -> list[int]:
        """The number of values below each bound and not below the one before."""
        counts = self.buckets(bounds)
        return [count - before for before, count in zip([0, *counts], counts, strict=False)]

    def details(self) -> list[tuple[float, float, int]]:
        """Lower bound, width and count of every bin."""
        if self.scale == 1:
            return [(bin_left(key), bin_width(key), self.bins[key]) for key in sorted(self.bins)]
        factor = 1.0 / self.scale
        return [(bin_left(key) * factor, bin_width(key) * factor, self.bins[key]) for key in sorted(self.bins)]
