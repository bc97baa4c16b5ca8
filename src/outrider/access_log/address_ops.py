"""Operators that print addresses and ports, whole, without port, or as the network that contains them."""

from __future__ import annotations

import ipaddress
from typing import Final

from outrider.access_log.context import FormatContext
from outrider.access_log.operation import NO_NUMBER, FormatOp, NumberOp
from outrider.access_log.syntax import PARAMS_OPTIONAL, CommandTable
from outrider.data.address import KIND_INTERNAL, KIND_IP, Address

DOWNSTREAM_REMOTE: Final = 0
DOWNSTREAM_LOCAL: Final = 1
DOWNSTREAM_DIRECT_REMOTE: Final = 2
DOWNSTREAM_DIRECT_LOCAL: Final = 3
UPSTREAM_REMOTE: Final = 4
UPSTREAM_LOCAL: Final = 5

# "No mask": `-1` is a valid argument that prints nothing.
_NO_MASK: Final = -2

_SOURCES: Final[dict[str, int]] = {
    "DOWNSTREAM_REMOTE": DOWNSTREAM_REMOTE,
    "DOWNSTREAM_LOCAL": DOWNSTREAM_LOCAL,
    "DOWNSTREAM_DIRECT_REMOTE": DOWNSTREAM_DIRECT_REMOTE,
    "DOWNSTREAM_DIRECT_LOCAL": DOWNSTREAM_DIRECT_LOCAL,
    "UPSTREAM_REMOTE": UPSTREAM_REMOTE,
    "UPSTREAM_LOCAL": UPSTREAM_LOCAL,
}


def address_of(context: FormatContext, source: int) -> Address | None:
    """One of the addresses of a stream."""
    info = context.stream_info
    if source >= UPSTREAM_REMOTE:
        upstream = info.upstream
        if upstream is None:
            return None
        return upstream.remote_address if source == UPSTREAM_REMOTE else upstream.local_address
    connection = info.connection
    if source == DOWNSTREAM_REMOTE:
        return connection.remote_address
    if source == DOWNSTREAM_LOCAL:
        return connection.local_address
    if source == DOWNSTREAM_DIRECT_REMOTE:
        return connection.direct_remote_address
    return connection.direct_local_address


class AddressOp(FormatOp):
    """`1.2.3.4:80`."""

    def __init__(self, source: int) -> None:
        self.source = source

    def text(self, context: FormatContext) -> bytes | None:
        address = address_of(context, self.source)
        return None if address is None else address.text.encode()


class HostOp(FormatOp):
    """`1.2.3.4`, or with a mask length `1.2.0.0/16`."""

    def __init__(self, source: int, mask: int) -> None:
        self.source = source
        self.mask = mask

    def text(self, context: FormatContext) -> bytes | None:
        address = address_of(context, self.source)
        if address is None:
            return None
        if address.kind != KIND_IP:
            return address.text.encode()
        if self.mask == _NO_MASK:
            return address.host_bytes
        return masked(address, self.mask)


class PortOp(NumberOp):
    """The port; nothing for addresses without one."""

    def __init__(self, source: int) -> None:
        self.source = source

    def number(self, context: FormatContext) -> int:
        address = address_of(context, self.source)
        if address is None or address.kind != KIND_IP:
            return NO_NUMBER
        return address.port


class EndpointIdOp(FormatOp):
    """Endpoint id of an address of an internal listener; empty for other addresses."""

    def __init__(self, source: int) -> None:
        self.source = source

    def text(self, context: FormatContext) -> bytes | None:
        address = address_of(context, self.source)
        if address is None:
            return None
        if address.kind != KIND_INTERNAL:
            return b""
        return address.host.partition("/")[2].encode()


def masked(address: Address, mask: int) -> bytes:
    """The network of that prefix length; one too long means the whole address, a negative one prints nothing."""
    if mask < 0:
        return b""
    parsed = ipaddress.ip_address(address.host.split("%")[0])
    length = min(mask, parsed.max_prefixlen)
    shift = parsed.max_prefixlen - length
    network = type(parsed)(int(parsed) >> shift << shift)
    return f"{network}/{length}".encode()


def _host(source: int, argument: str) -> FormatOp:
    try:
        mask = int(argument)
    except ValueError:
        return HostOp(source, _NO_MASK)
    return HostOp(source, -1 if mask < 0 else mask)


def _downstream_remote(argument: str, length: int | None) -> FormatOp:
    return _host(DOWNSTREAM_REMOTE, argument)


def _downstream_local(argument: str, length: int | None) -> FormatOp:
    return _host(DOWNSTREAM_LOCAL, argument)


def _downstream_direct_remote(argument: str, length: int | None) -> FormatOp:
    return _host(DOWNSTREAM_DIRECT_REMOTE, argument)


def _downstream_direct_local(argument: str, length: int | None) -> FormatOp:
    return _host(DOWNSTREAM_DIRECT_LOCAL, argument)


def _upstream_remote(argument: str, length: int | None) -> FormatOp:
    return _host(UPSTREAM_REMOTE, argument)


def _upstream_local(argument: str, length: int | None) -> FormatOp:
    return _host(UPSTREAM_LOCAL, argument)


PLAIN: Final[dict[str, FormatOp]] = {
    **{f"{name}_ADDRESS": AddressOp(source) for name, source in _SOURCES.items()},
    **{f"{name}_PORT": PortOp(source) for name, source in _SOURCES.items()},
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID": EndpointIdOp(UPSTREAM_REMOTE),
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID": EndpointIdOp(DOWNSTREAM_LOCAL),
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID": EndpointIdOp(DOWNSTREAM_DIRECT_LOCAL),
}

COMMANDS: Final[CommandTable] = {
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": (PARAMS_OPTIONAL, _downstream_remote),
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": (PARAMS_OPTIONAL, _downstream_local),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": (PARAMS_OPTIONAL, _downstream_direct_remote),
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT": (PARAMS_OPTIONAL, _downstream_direct_local),
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": (PARAMS_OPTIONAL, _upstream_remote),
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": (PARAMS_OPTIONAL, _upstream_local),
}
