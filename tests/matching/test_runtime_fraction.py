from __future__ import annotations

from outrider.config.runtime import Runtime, make_entry
from outrider.matching.runtime_fraction import runtime_fraction
from tests.matching.support import view_of

MESSAGE = "envoy.config.core.v3.RuntimeFractionalPercent"


def test_default_and_override() -> None:
    config = {"default_value": {"numerator": 15, "denominator": "TEN_THOUSAND"}, "runtime_key": "k"}
    runtime = Runtime()
    fraction = runtime_fraction(view_of(MESSAGE, config), runtime)
    assert [fraction.enabled(value) for value in (0, 14, 15, 10_014)] == [True, True, False, True]
    runtime.replace({"k": make_entry(50)})
    assert [fraction.enabled(value) for value in (49, 50)] == [True, False]
    runtime.replace({"k": make_entry({"numerator": 1, "denominator": "MILLION"})})
    assert [fraction.enabled(value) for value in (0, 1)] == [True, False]
    assert fraction.describe() == "15/10000 of requests (k)"


def test_without_key() -> None:
    fraction = runtime_fraction(view_of(MESSAGE, {"default_value": {"numerator": 200}}), Runtime())
    assert fraction.enabled(99)
