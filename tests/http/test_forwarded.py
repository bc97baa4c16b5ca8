"""x-forwarded-for and original-IP detection."""

from __future__ import annotations

from outrider.data.address import ip_address, pipe_address
from outrider.data.header_map import RequestHeaderMap
from outrider.http.forwarded import (
    CustomHeaderDetection,
    InternalAddressConfig,
    XffDetection,
    last_address_from_xff,
    parse_address,
)
from outrider.matching.cidr import CidrList, CidrRange

REMOTE = ip_address("10.1.2.3", 4444)


def xff(value: bytes) -> RequestHeaderMap:
    return RequestHeaderMap({b"x-forwarded-for": value})


def test_last_address() -> None:
    address, single = last_address_from_xff(xff(b"1.1.1.1"), 0)
    assert address is not None and address.host == "1.1.1.1" and single
    address, single = last_address_from_xff(xff(b"1.1.1.1, 2.2.2.2"), 0)
    assert address is not None and address.host == "2.2.2.2" and not single
    address, single = last_address_from_xff(xff(b"1.1.1.1, 2.2.2.2"), 1)
    assert address is not None and address.host == "1.1.1.1" and not single
    assert last_address_from_xff(xff(b"1.1.1.1"), 1) == (None, False)
    assert last_address_from_xff(xff(b"nonsense"), 0)[0] is None
    assert last_address_from_xff(RequestHeaderMap(), 0) == (None, False)


def test_malformed_addresses_are_not_believed() -> None:
    for text in (b"", b"1.2.3", b"1.2.3.4:80", b"::1::", b"1.2.3.4, ", b"\xff"):
        assert parse_address(text) is None
    assert parse_address(b"2001:db8::1") is not None


def test_trusted_cidrs_skip_our_own_proxies() -> None:
    detection = XffDetection(0, CidrList([CidrRange("10.0.0.0", 8)]), True)
    found = detection.detect(xff(b"9.9.9.9, 203.0.113.7, 10.9.9.9"), REMOTE)
    assert found is not None and found.address is not None and found.address.host == "203.0.113.7"
    assert detection.detect(xff(b"9.9.9.9"), ip_address("192.0.2.1", 1)) is None
    assert detection.detect(xff(b"broken"), REMOTE) is None


def test_custom_header() -> None:
    detection = CustomHeaderDetection(b"x-client", True, 0)
    found = detection.detect(RequestHeaderMap({b"x-client": b"203.0.113.7"}), REMOTE)
    assert found is not None and found.address is not None and found.allow_trusted_checks
    assert detection.detect(RequestHeaderMap(), REMOTE) is None
    strict = CustomHeaderDetection(b"x-client", False, 403)
    refused = strict.detect(RequestHeaderMap({b"x-client": b"?"}), REMOTE)
    assert refused is not None and refused.reject and refused.reject_code == 403


def test_internal_addresses() -> None:
    nothing = InternalAddressConfig(False, CidrList([]))
    assert not nothing.is_internal(ip_address("127.0.0.1", 1))
    some = InternalAddressConfig(True, CidrList([CidrRange("10.0.0.0", 8), CidrRange("fd00::", 8)]))
    assert some.is_internal(REMOTE)
    assert some.is_internal(ip_address("fd12::1", 1))
    assert not some.is_internal(ip_address("11.0.0.1", 1))
    assert some.is_internal(pipe_address("/run/x.sock"))
