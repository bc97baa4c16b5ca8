"""Rate limit actions beyond the plain ones: addresses in ranges, and those of extensions."""

from __future__ import annotations

from typing import Final

from outrider.access_log.context import FormatContext
from outrider.access_log.formatter import Formatter
from outrider.data.address import KIND_IP
from outrider.matching.cidr import CidrList
from outrider.registry import ExtensionRegistry
from outrider.router.rate_limit_actions import Entry, RateLimitAction, RateLimitRequest

# Factories take `(config, context)`: `(View, FactoryContext)`.
RATE_LIMIT_DESCRIPTORS: Final[ExtensionRegistry[RateLimitAction]] = ExtensionRegistry("envoy.rate_limit_descriptors")


class RemoteAddressMatch(RateLimitAction):
    """An entry for clients in (or, inverted, outside) some ranges."""

    def __init__(self, key: str, value: Formatter, default: str, ranges: CidrList, invert: bool) -> None:
        self.key = key
        self.value = value
        self.default = default
        self.ranges = ranges
        self.invert = invert

    def describe(self, request: RateLimitRequest) -> Entry | None:
        address = request.info.connection.remote_address
        if address.kind != KIND_IP or self.ranges.contains(address) == self.invert:
            return None
        text = self.value.format(FormatContext(request.info, request.headers)) or self.default
        return (self.key, text) if text else None
