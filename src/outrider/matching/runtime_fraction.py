"""Fractions that runtime may override: `RuntimeFractionalPercent`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.config.runtime import DENOMINATORS

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.config.view import View


class RuntimeFraction:
    """True for a share of the requests, told apart by a random value."""

    __slots__ = ("runtime", "key", "numerator", "denominator")

    def __init__(self, runtime: Runtime | None, key: str, numerator: int, denominator: int) -> None:
        # None when there is no key: nothing can override the fraction.
        self.runtime: Runtime | None = runtime if key else None
        self.key = key
        self.numerator = numerator
        self.denominator = denominator

    def enabled(self, random_value: int) -> bool:
        """Whether the request with this random value (any unsigned 64-bit integer) is in the share."""
        runtime = self.runtime
        if runtime is not None:
            return runtime.fraction_enabled(self.key, self.numerator, self.denominator, random_value)
        return random_value % self.denominator < self.numerator

    def describe(self) -> str:
        key = f" ({self.key})" if self.key else ""
        return f"{self.numerator}/{self.denominator} of requests{key}"


def fractional_percent(view: View) -> tuple[int, int]:
    """Numerator and denominator of an `envoy.type.v3.FractionalPercent`."""
    return view.integer("numerator"), DENOMINATORS[view.enum("denominator")]


def runtime_fraction(view: View, runtime: Runtime | None) -> RuntimeFraction:
    """From a `RuntimeFractionalPercent`."""
    default = view.message("default_value")
    numerator, denominator = (0, 100) if default is None else fractional_percent(default)
    return RuntimeFraction(runtime, view.text("runtime_key"), numerator, denominator)
