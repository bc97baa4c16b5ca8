"""The PROXY protocol, versions 1 and 2: reading and writing its header.

Source: "The PROXY protocol", haproxy.org/download/2.9/doc/proxy-protocol.txt (sections 2.1, 2.2).
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from outrider.data.address import KIND_IP, Address
from outrider.data.filter_state import FilterStateObject
from outrider.network.transport_socket import NO_OPTIONS, TransportSocketOptions

if TYPE_CHECKING:
    from outrider.config.view import View

V1_SIGNATURE: Final = b"PROXY "
V2_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
# Section 2.1: the longest line, CRLF included, is 107 bytes; Envoy allows one more.
V1_MAX: Final = 108
V2_FIXED: Final = 16
V2_MAX: Final = V2_FIXED + 65535

# Filter state of a connection that came with a header, or whose addresses an upstream is to be told.
OPTIONS_KEY: Final = "envoy.network.proxy_protocol_options"

_AF_INET: Final = 1
_AF_INET6: Final = 2


class NeedMore(Exception):
    """The header is not complete."""


class BadHeader(Exception):
    """It began as a header and is none. The text is Envoy's."""


class Tlv:
    """One extension of a version 2 header."""

    __slots__ = ("kind", "value")

    def __init__(self, kind: int, value: bytes) -> None:
        self.kind = kind
        self.value = value


class ProxyHeader(FilterStateObject):
    """What a header says. Addresses are None when it speaks for nobody (LOCAL, UNKNOWN)."""

    __slots__ = ("size", "version", "source", "destination", "tlvs")

    def __init__(self, version: int, size: int, source: Address | None, destination: Address | None) -> None:
        self.version = version
        # Bytes it took.
        self.size = size
        self.source = source
        self.destination = destination
        self.tlvs: list[Tlv] = []


def version_of(data: bytes) -> int:
    """1 or 2: so it begins; 0: it is neither. Raises NeedMore while both are possible."""
    if data.startswith(V2_SIGNATURE):
        return 2
    if data.startswith(V1_SIGNATURE):
        return 1
    if V2_SIGNATURE.startswith(data) or V1_SIGNATURE.startswith(data):
        raise NeedMore
    return 0


def parse_v1(data: bytes) -> ProxyHeader:
    """Raises NeedMore or BadHeader."""
    end = data.find(b"\r\n", 0, V1_MAX)
    if end < 0:
        if len(data) >= V1_MAX:
            raise BadHeader("failed to read proxy protocol (exceed max v1 header len)")
        raise NeedMore
    parts = data[:end].split(b" ")
    size = end + 2
    if parts[1] == b"UNKNOWN":
        return ProxyHeader(1, size, None, None)
    if len(parts) != 6 or parts[1] not in (b"TCP4", b"TCP6"):
        raise BadHeader("failed to read proxy protocol")
    six = parts[1] == b"TCP6"
    return ProxyHeader(1, size, _text_address(parts[2], parts[4], six), _text_address(parts[3], parts[5], six))


def _text_address(host: bytes, port: bytes, six: bool) -> Address:
    if not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise BadHeader("failed to read proxy protocol")
    try:
        text = host.decode("ascii")
        parsed = ipaddress.IPv6Address(text) if six else ipaddress.IPv4Address(text)
    except ValueError:
        raise BadHeader("failed to read proxy protocol") from None
    if "%" in text:
        raise BadHeader("failed to read proxy protocol")
    return Address(KIND_IP, str(parsed), int(port))


def parse_v2(data: bytes) -> ProxyHeader:
    """Raises NeedMore or BadHeader."""
    if len(data) < V2_FIXED:
        raise NeedMore
    if data[12] >> 4 != 2:
        raise BadHeader("Unsupported V2 proxy protocol version")
    command = data[12] & 15
    family = data[13] >> 4
    transport = data[13] & 15
    length = data[14] << 8 | data[15]
    size = V2_FIXED + length
    if command == 0:
        if len(data) < size:
            raise NeedMore
        return ProxyHeader(2, size, None, None)
    if command != 1:
        raise BadHeader("Unsupported V2 proxy protocol command")
    if transport not in (1, 2):
        raise BadHeader("Unsupported V2 proxy protocol transport")
    if family == _AF_INET:
        width = 4
    elif family == _AF_INET6:
        width = 16
    else:
        raise BadHeader("Unsupported V2 proxy protocol address family")
    used = 2 * width + 4
    if length < used:
        raise BadHeader("failed to read proxy protocol (insufficient data)")
    if len(data) < size:
        raise NeedMore
    ports = V2_FIXED + 2 * width
    header = ProxyHeader(
        2,
        size,
        _packed_address(data[V2_FIXED : V2_FIXED + width], data[ports] << 8 | data[ports + 1]),
        _packed_address(data[V2_FIXED + width : ports], data[ports + 2] << 8 | data[ports + 3]),
    )
    header.tlvs = parse_tlvs(data[V2_FIXED + used : size])
    return header


def _packed_address(packed: bytes, port: int) -> Address:
    return Address(KIND_IP, str(ipaddress.ip_address(packed)), port)


def parse_tlvs(data: bytes) -> list[Tlv]:
    """The extensions behind the addresses; raises BadHeader when a length leads out of them."""
    tlvs: list[Tlv] = []
    position = 0
    while position < len(data):
        if position + 3 > len(data):
            raise BadHeader("failed to read proxy protocol extension. No bytes for TLV length.")
        end = position + 3 + (data[position + 1] << 8 | data[position + 2])
        if end > len(data):
            raise BadHeader("failed to read proxy protocol extension. No bytes for TLV value.")
        tlvs.append(Tlv(data[position], data[position + 3 : end]))
        position = end
    return tlvs


def header_v1(source: Address, destination: Address) -> bytes:
    """A version 1 line."""
    if source.kind != KIND_IP or destination.kind != KIND_IP:
        return b"PROXY UNKNOWN\r\n"
    family = "TCP6" if source.is_v6 else "TCP4"
    return f"PROXY {family} {source.host} {destination.host} {source.port} {destination.port}\r\n".encode()


def header_v2(source: Address, destination: Address, tlvs: list[Tlv]) -> bytes:
    """A version 2 header for TCP. Extensions that would not fit into its 65,535 bytes are left out."""
    if source.kind != KIND_IP or destination.kind != KIND_IP:
        return LOCAL_V2
    six = source.is_v6 or destination.is_v6
    width = 16 if six else 4
    body = (
        source.packed().to_bytes(width, "big")
        + destination.packed().to_bytes(width, "big")
        + source.port.to_bytes(2, "big")
        + destination.port.to_bytes(2, "big")
    )
    for tlv in tlvs:
        if len(body) + 3 + len(tlv.value) <= 65535:
            body += bytes((tlv.kind,)) + len(tlv.value).to_bytes(2, "big") + tlv.value
    family = (_AF_INET6 if six else _AF_INET) << 4 | 1
    return V2_SIGNATURE + bytes((0x21, family)) + len(body).to_bytes(2, "big") + body


LOCAL_V2: Final = V2_SIGNATURE + b"\x20\x00\x00\x00"


class TlvChoice:
    """`ProxyProtocolPassThroughTLVs`: which extensions go on."""

    __slots__ = ("everything", "kinds")

    def __init__(self, everything: bool, kinds: list[int]) -> None:
        self.everything = everything
        self.kinds = frozenset(kinds)

    def keeps(self, tlv: Tlv) -> bool:
        return self.everything or tlv.kind in self.kinds


class ProxyOptions(TransportSocketOptions):
    """Options of a transport socket that tell it for whom the connection is made."""

    __slots__ = ("header",)

    def __init__(self, header: ProxyHeader, other: TransportSocketOptions) -> None:
        super().__init__(other.server_name, other.verify_sans, other.alpn, other.alpn_fallback)
        self.header = header

    def addresses_key(self) -> str:
        """Connections that are made for different clients are not shared."""
        source = self.header.source
        destination = self.header.destination
        return f"{'' if source is None else source.text}-{'' if destination is None else destination.text}"


def options_for(
    state: dict[str, object] | None,
    remote: Address,
    local: Address,
    tlvs: list[Tlv],
    other: TransportSocketOptions | None = None,
) -> ProxyOptions:
    """For whom an upstream connection is made: the client of the header that came, else the connection's own.

    What else the transport socket is to know comes from `other`.
    """
    header = None if state is None else state.get(OPTIONS_KEY)
    if not isinstance(header, ProxyHeader):
        header = ProxyHeader(2, 0, remote, local)
        header.tlvs = tlvs
    return ProxyOptions(header, NO_OPTIONS if other is None else other)


def read_tlv_choice(view: View | None) -> TlvChoice | None:
    """A ProxyProtocolPassThroughTLVs."""
    if view is None:
        return None
    return TlvChoice(view.enum("match_type") == "INCLUDE_ALL", view.integers("tlv_type"))


def read_tlvs(views: list[View]) -> list[Tlv]:
    """TlvEntry messages with a plain `value`. Raises ConfigError."""
    found: list[Tlv] = []
    for view in views:
        if not view.has("value"):
            if not view.has("format_string"):
                raise view.error("Invalid TLV configuration: one of 'value' or 'format_string' must be set.")
            # Left unread, and so refused by its path.
            continue
        found.append(Tlv(view.integer("type"), view.data("value")))
    return found
