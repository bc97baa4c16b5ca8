"""Who is the client: x-forwarded-for, trusted hops, original-IP detection, internal addresses.

Source: Envoy documentation, "HTTP headers: x-forwarded-for" and "HTTP original IP detection".
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from mypy_extensions import mypyc_attr

from outrider.data.address import KIND_IP, KIND_PIPE, Address
from outrider.data.header_map import RequestHeaderMap
from outrider.data.header_names import X_FORWARDED_FOR
from outrider.matching.cidr import CidrList


class DetectedAddress:
    """What an original-IP detection found."""

    __slots__ = ("address", "allow_trusted_checks", "reject", "skip_xff_append", "reject_code", "reject_details")

    def __init__(self, address: Address | None, allow_trusted_checks: bool, skip_xff_append: bool = True) -> None:
        self.address = address
        # Whether the address may make the request an internal one.
        self.allow_trusted_checks = allow_trusted_checks
        self.skip_xff_append = skip_xff_append
        self.reject: bool = False
        self.reject_code: int = 403
        self.reject_details: str = ""


@mypyc_attr(allow_interpreted_subclasses=True)
class OriginalIpDetection:
    """Finds the client's address in a request."""

    def detect(self, headers: RequestHeaderMap, remote: Address) -> DetectedAddress | None:
        """None: nothing found, the next one is asked."""
        raise NotImplementedError


class XffDetection(OriginalIpDetection):
    """envoy.http.original_ip_detection.xff."""

    def __init__(self, trusted_hops: int, trusted_cidrs: CidrList | None, skip_xff_append: bool) -> None:
        self.trusted_hops = trusted_hops
        self.trusted_cidrs = trusted_cidrs
        self.skip_xff_append = skip_xff_append

    def detect(self, headers: RequestHeaderMap, remote: Address) -> DetectedAddress | None:
        if self.trusted_cidrs is not None:
            return self._detect_by_cidr(headers, remote)
        address, single = last_address_from_xff(headers, self.trusted_hops)
        if address is None:
            return None
        return DetectedAddress(address, single, self.skip_xff_append)

    def _detect_by_cidr(self, headers: RequestHeaderMap, remote: Address) -> DetectedAddress | None:
        cidrs = self.trusted_cidrs
        assert cidrs is not None
        if not cidrs.contains(remote):
            return None
        value = headers.get_joined(X_FORWARDED_FOR)
        if value is None:
            return None
        found: Address | None = None
        for part in reversed(value.split(b",")):
            address = parse_address(part.strip())
            if address is None:
                return None
            found = address
            if not cidrs.contains(address):
                break
        if found is None:
            return None
        return DetectedAddress(found, False, self.skip_xff_append)


class CustomHeaderDetection(OriginalIpDetection):
    """envoy.http.original_ip_detection.custom_header."""

    def __init__(self, name: bytes, allow_trusted_checks: bool, reject_code: int) -> None:
        self.name = name
        self.allow_trusted_checks = allow_trusted_checks
        # 0: a request without a usable header is served.
        self.reject_code = reject_code

    def detect(self, headers: RequestHeaderMap, remote: Address) -> DetectedAddress | None:
        value = headers.get(self.name)
        address = None if value is None else parse_address(value.strip())
        if address is not None:
            return DetectedAddress(address, self.allow_trusted_checks)
        if self.reject_code:
            rejected = DetectedAddress(None, False, False)
            rejected.reject = True
            rejected.reject_code = self.reject_code
            rejected.reject_details = "rejecting_because_detection_failed"
            return rejected
        return None


_PARSED: dict[bytes, Address | None] = {}
_PARSED_LIMIT: Final = 4096


def parse_address(text: bytes) -> Address | None:
    """An IP literal (no port); None for anything else. Recent results are kept, since clients come back."""
    if text in _PARSED:
        return _PARSED[text]
    address: Address | None = None
    try:
        literal = text.decode("ascii")
        ipaddress.ip_address(literal)
        address = Address(KIND_IP, literal, 0)
    except ValueError:
        pass
    if len(_PARSED) >= _PARSED_LIMIT:
        _PARSED.clear()
    _PARSED[text] = address
    return address


def last_address_from_xff(headers: RequestHeaderMap, skip: int) -> tuple[Address | None, bool]:
    """The address `skip` entries from the end of x-forwarded-for, and whether the field held just one address."""
    value = headers.get_joined(X_FORWARDED_FOR)
    if value is None:
        return None, False
    end = len(value)
    for _ in range(skip):
        comma = value.rfind(b",", 0, end)
        if comma < 0:
            return None, False
        end = comma
    comma = value.rfind(b",", 0, end)
    part = value[comma + 1 : end].strip()
    return parse_address(part), comma < 0 and skip == 0


class InternalAddressConfig:
    """Which addresses count as internal (`internal_address_config`); none unless configured."""

    __slots__ = ("unix_sockets", "cidrs")

    def __init__(self, unix_sockets: bool, cidrs: CidrList) -> None:
        self.unix_sockets = unix_sockets
        self.cidrs = cidrs

    def is_internal(self, address: Address) -> bool:
        if address.kind == KIND_PIPE:
            return self.unix_sockets
        return self.cidrs.contains(address)


def local_ip_address() -> bytes:
    """An address of this machine that is not loopback, as Envoy puts it in x-forwarded-for for loopback clients."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        # Nothing is sent: connecting a datagram socket only asks the routing table (TEST-NET-1 of RFC 5737).
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0]).encode("ascii")
    except OSError:
        return b"127.0.0.1"
    finally:
        probe.close()
