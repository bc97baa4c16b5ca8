"""Input matchers of matcher trees: `custom_match` of a predicate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xxhash

from outrider.data.address import ip_address
from outrider.matching.cidr import CidrList, parse_cidr_list
from outrider.matching.data import InputMatcher
from outrider.matching.runtime_fraction import RuntimeFraction, runtime_fraction
from outrider.matching.tree_loader import INPUT_MATCHERS
from outrider.matching.value_matcher import ValueMatcher, parse_value_matcher

if TYPE_CHECKING:
    from outrider.config.view import View

_MATCHERS = "envoy.extensions.matching.input_matchers."


class IpInputMatcher(InputMatcher):
    """The value is an IP address in one of several ranges."""

    def __init__(self, ranges: CidrList) -> None:
        self.ranges = ranges

    def matches(self, value: object | None) -> bool:
        if not isinstance(value, bytes):
            return False
        try:
            address = ip_address(value.decode("ascii", "replace"), 0)
        except ValueError:
            return False
        return self.ranges.contains(address)

    def describe(self) -> str:
        return self.ranges.describe()


class ConsistentHashingMatcher(InputMatcher):
    """The value's hash modulo a number is at least a threshold."""

    def __init__(self, threshold: int, modulo: int, seed: int) -> None:
        self.threshold = threshold
        self.modulo = modulo
        self.seed = seed

    def matches(self, value: object | None) -> bool:
        if not isinstance(value, bytes):
            return False
        return int(xxhash.xxh64_intdigest(value, self.seed)) % self.modulo >= self.threshold

    def describe(self) -> str:
        return f"hash % {self.modulo} >= {self.threshold}"


class RuntimeFractionMatcher(InputMatcher):
    """The value's hash is in a share that runtime may change."""

    def __init__(self, fraction: RuntimeFraction, seed: int) -> None:
        self.fraction = fraction
        self.seed = seed

    def matches(self, value: object | None) -> bool:
        if not isinstance(value, bytes):
            return False
        return self.fraction.enabled(int(xxhash.xxh64_intdigest(value, self.seed)))

    def describe(self) -> str:
        return self.fraction.describe()


class MetadataInputMatcher(InputMatcher):
    """A condition on a metadata value."""

    def __init__(self, matcher: ValueMatcher, invert: bool) -> None:
        self.matcher = matcher
        self.invert = invert

    def matches(self, value: object | None) -> bool:
        return self.matcher.matches(value, value is not None) != self.invert

    def describe(self) -> str:
        return ("not " if self.invert else "") + self.matcher.describe()


@INPUT_MATCHERS.register("envoy.matching.matchers.ip", _MATCHERS + "ip.v3.Ip")
def create_ip(view: View, context: Any) -> InputMatcher:
    # The one stat below this prefix counts addresses that do not parse; those of connections always do.
    view.text("stat_prefix")
    return IpInputMatcher(parse_cidr_list(view.messages("cidr_ranges")))


@INPUT_MATCHERS.register(
    "envoy.matching.matchers.consistent_hashing", _MATCHERS + "consistent_hashing.v3.ConsistentHashing"
)
def create_consistent_hashing(view: View, context: Any) -> InputMatcher:
    threshold = view.integer("threshold")
    modulo = view.integer("modulo")
    if threshold > modulo:
        raise view.error(f"threshold cannot be greater than modulo: {threshold} > {modulo}", "threshold")
    return ConsistentHashingMatcher(threshold, modulo, view.integer("seed"))


@INPUT_MATCHERS.register("envoy.matching.matchers.runtime_fraction", _MATCHERS + "runtime_fraction.v3.RuntimeFraction")
def create_runtime_fraction(view: View, context: Any) -> InputMatcher:
    fraction = view.message("runtime_fraction")
    if fraction is None:
        raise view.error("value is required", "runtime_fraction")
    return RuntimeFractionMatcher(runtime_fraction(fraction, context.runtime), view.integer("seed"))


@INPUT_MATCHERS.register("envoy.matching.matchers.metadata_matcher", _MATCHERS + "metadata.v3.Metadata")
def create_metadata(view: View, context: Any) -> InputMatcher:
    value = view.message("value")
    if value is None:
        raise view.error("value is required", "value")
    return MetadataInputMatcher(parse_value_matcher(value, context), view.flag("invert"))
