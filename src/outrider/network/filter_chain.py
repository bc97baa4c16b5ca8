"""Filter chains, and the choice of one for a connection (`envoy.config.listener.v3.FilterChainMatch`).

The criteria are tried in Envoy's fixed order: destination port, destination IP, server name, transport protocol,
application protocol, directly connected source IP, source type, source IP, source port. At each step the most specific
value that fits decides, and nothing is tried again further up. Each step is one or a few dictionary look-ups.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.data.address import KIND_IP, KIND_PIPE, Address
from outrider.data.stream_info import ConnectionInfo

if TYPE_CHECKING:
    from outrider.network.filter_registry import NetworkFilterFactory
    from outrider.network.transport_socket import TransportSocketFactory

SOURCE_ANY: Final = 0
SOURCE_SAME_IP_OR_LOOPBACK: Final = 1
SOURCE_EXTERNAL: Final = 2
SOURCE_TYPES: Final = {
    "ANY": SOURCE_ANY, "SAME_IP_OR_LOOPBACK": SOURCE_SAME_IP_OR_LOOPBACK, "EXTERNAL": SOURCE_EXTERNAL,
}  # fmt: skip

# What a connection over a Unix socket is matched as (so does Envoy).
_PIPE_AS: Final = int(ipaddress.IPv4Address("127.0.0.255"))
_V4_LOOPBACK: Final = int(ipaddress.IPv4Address("127.0.0.1"))


class OverlapError(Exception):
    """Two chains would match the same connection."""


class FilterChain:
    """What a connection gets: a transport socket and network filters. Immutable."""

    __slots__ = (
        "name", "transport_socket_factory", "connect_timeout_ms", "filter_factories", "metadata", "on_close", "packed",
        "drain",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        transport_socket_factory: TransportSocketFactory,
        filter_factories: list[NetworkFilterFactory],
        connect_timeout_ms: int = 0,
        metadata: dict[str, dict[str, object]] | None = None,
    ) -> None:
        self.name = name
        self.transport_socket_factory = transport_socket_factory
        self.filter_factories = filter_factories
        # The handshake's time; 0 is unlimited.
        self.connect_timeout_ms = connect_timeout_ms
        self.metadata: dict[str, dict[str, object]] = metadata if metadata is not None else {}
        # Ends the subscriptions of its parts, see FactoryContext.on_close.
        self.on_close: list[Callable[[], None]] = []
        # The message: an update of the listener that has the same keeps the chain.
        self.packed: bytes = b""
        # When its connections are asked to go away (a server.drain.ListenerDrain).
        self.drain: object = None

    def close(self) -> None:
        """No connection will use the chain any more."""
        callbacks = self.on_close
        self.on_close = []
        for callback in callbacks:
            callback()

    def __repr__(self) -> str:
        return f"<FilterChain {self.name!r} {len(self.filter_factories)} filters>"


class MatchCriteria:
    """A `FilterChainMatch`, read; empty lists and values match anything."""

    __slots__ = (
        "destination_port", "destination_prefixes", "server_names", "transport_protocol", "application_protocols",
        "direct_source_prefixes", "source_type", "source_prefixes", "source_ports",
    )  # fmt: skip

    def __init__(self) -> None:
        self.destination_port: int = 0
        # (address, prefix length)
        self.destination_prefixes: list[tuple[str, int]] = []
        # Lower case; "*.example.com" matches every name below example.com.
        self.server_names: list[str] = []
        self.transport_protocol: str = ""
        self.application_protocols: list[str] = []
        self.direct_source_prefixes: list[tuple[str, int]] = []
        self.source_type: int = SOURCE_ANY
        self.source_prefixes: list[tuple[str, int]] = []
        self.source_ports: list[int] = []


class _Node:
    """A step of the choice: values to the next step."""

    __slots__ = ("by_number", "by_text", "prefixes", "chain")

    def __init__(self) -> None:
        self.by_number: dict[int, _Node] = {}
        self.by_text: dict[str, _Node] = {}
        self.prefixes: PrefixTable | None = None
        self.chain: FilterChain | None = None

    def number(self, key: int) -> _Node:
        found = self.by_number.get(key)
        if found is None:
            found = _Node()
            self.by_number[key] = found
        return found

    def text(self, key: str) -> _Node:
        found = self.by_text.get(key)
        if found is None:
            found = _Node()
            self.by_text[key] = found
        return found

    def prefix(self, address: str, length: int) -> _Node:
        if self.prefixes is None:
            self.prefixes = PrefixTable()
        return self.prefixes.node(address, length)


class _PrefixLevel:
    """All prefixes of one family and length."""

    __slots__ = ("length", "shift", "nodes")

    def __init__(self, length: int, shift: int) -> None:
        self.length = length
        self.shift = shift
        self.nodes: dict[int, _Node] = {}


class PrefixTable:
    """Longest-prefix match over IPv4 and IPv6: one dictionary for each length in use, longest first."""

    __slots__ = ("_v4", "_v6", "_any")

    def __init__(self) -> None:
        self._v4: list[_PrefixLevel] = []
        self._v6: list[_PrefixLevel] = []
        self._any: _Node | None = None

    def node(self, address: str, length: int) -> _Node:
        """The node of a prefix, made if need be; "" is every address. Raises ValueError for a malformed address."""
        if not address:
            if self._any is None:
                self._any = _Node()
            return self._any
        parsed = ipaddress.ip_address(address)
        bits = parsed.max_prefixlen
        length = min(length, bits)
        levels = self._v4 if parsed.version == 4 else self._v6
        level: _PrefixLevel | None = None
        for known in levels:
            if known.length == length:
                level = known
        if level is None:
            level = _PrefixLevel(length, bits - length)
            levels.append(level)
            levels.sort(key=_prefix_length, reverse=True)
        key = int(parsed) >> level.shift
        found = level.nodes.get(key)
        if found is None:
            found = _Node()
            level.nodes[key] = found
        return found

    def find(self, packed: int, is_v6: bool) -> _Node | None:
        levels = self._v6 if is_v6 else self._v4
        for level in levels:
            found = level.nodes.get(packed >> level.shift)
            if found is not None:
                return found
        return self._any


def _prefix_length(level: _PrefixLevel) -> int:
    return level.length


@mypyc_attr(allow_interpreted_subclasses=True)
class FilterChainMatcher:
    """Finds the chain of a connection."""

    __slots__ = ("_ports", "_only", "_default", "_count")

    def __init__(self, default: FilterChain | None = None) -> None:
        self._ports = _Node()
        self._default = default
        self._count = 0
        # The one chain that takes everything, when that is all there is.
        self._only: FilterChain | None = None

    def add(self, criteria: MatchCriteria, chain: FilterChain) -> None:
        """Raises OverlapError when an earlier chain has one of the combinations, ValueError for a bad prefix."""
        self._count += 1
        conditions = bool(
            criteria.destination_port or criteria.destination_prefixes or criteria.server_names
            or criteria.transport_protocol or criteria.application_protocols or criteria.direct_source_prefixes
            or criteria.source_type or criteria.source_prefixes or criteria.source_ports
        )  # fmt: skip
        self._only = chain if self._count == 1 and not conditions else None
        nodes = [self._ports.number(criteria.destination_port)]
        nodes = _spread_prefixes(nodes, criteria.destination_prefixes)
        names = [name[1:] if name.startswith("*.") else name for name in criteria.server_names]
        nodes = _spread_texts(nodes, names)
        nodes = [node.text(criteria.transport_protocol) for node in nodes]
        nodes = _spread_texts(nodes, criteria.application_protocols)
        nodes = _spread_prefixes(nodes, criteria.direct_source_prefixes)
        nodes = [node.number(criteria.source_type) for node in nodes]
        nodes = _spread_prefixes(nodes, criteria.source_prefixes)
        for node in nodes:
            for port in criteria.source_ports or [0]:
                last = node.number(port)
                if last.chain is not None:
                    raise OverlapError("multiple filter chains with overlapping matching rules are defined")
                last.chain = chain

    def find(self, info: ConnectionInfo) -> FilterChain | None:
        """The chain for a connection, the default one, or None."""
        if self._only is not None:
            return self._only
        local = info.local_address
        if local.kind == KIND_IP:
            node = self._ports.by_number.get(local.port) if local.port else None
            if node is not None:
                found = self._find_destination(node, info)
                return found if found is not None else self._default
        node = self._ports.by_number.get(0)
        if node is not None:
            found = self._find_destination(node, info)
            if found is not None:
                return found
        return self._default

    def _find_destination(self, node: _Node, info: ConnectionInfo) -> FilterChain | None:
        found = _find_prefix(node, info.local_address)
        return None if found is None else self._find_server_name(found, info)

    def _find_server_name(self, node: _Node, info: ConnectionInfo) -> FilterChain | None:
        names = node.by_text
        name = info.requested_server_name
        if name:
            found = names.get(name)
            if found is not None:
                return self._find_transport(found, info)
            position = name.find(".", 1)
            while 0 <= position < len(name) - 1:
                found = names.get(name[position:])
                if found is not None:
                    return self._find_transport(found, info)
                position = name.find(".", position + 1)
        found = names.get("")
        return None if found is None else self._find_transport(found, info)

    def _find_transport(self, node: _Node, info: ConnectionInfo) -> FilterChain | None:
        found = node.by_text.get(info.transport_protocol or "raw_buffer")
        if found is None:
            found = node.by_text.get("")
            if found is None:
                return None
        for protocol in info.application_protocols:
            by_protocol = found.by_text.get(protocol)
            if by_protocol is not None:
                return self._find_direct_source(by_protocol, info)
        unspecific = found.by_text.get("")
        return None if unspecific is None else self._find_direct_source(unspecific, info)

    def _find_direct_source(self, node: _Node, info: ConnectionInfo) -> FilterChain | None:
        found = _find_prefix(node, info.direct_remote_address)
        if found is None:
            return None
        types = found.by_number
        if len(types) > 1 or SOURCE_ANY not in types:
            kind = SOURCE_SAME_IP_OR_LOOPBACK if is_same_ip_or_loopback(info) else SOURCE_EXTERNAL
            by_type = types.get(kind)
            if by_type is not None:
                return self._find_source(by_type, info)
        by_type = types.get(SOURCE_ANY)
        return None if by_type is None else self._find_source(by_type, info)

    def _find_source(self, node: _Node, info: ConnectionInfo) -> FilterChain | None:
        found = _find_prefix(node, info.remote_address)
        if found is None:
            return None
        last = found.by_number.get(info.remote_address.port)
        if last is None:
            last = found.by_number.get(0)
        return None if last is None else last.chain


def _spread_texts(nodes: list[_Node], keys: list[str]) -> list[_Node]:
    return [node.text(key) for node in nodes for key in keys or [""]]


def _spread_prefixes(nodes: list[_Node], prefixes: list[tuple[str, int]]) -> list[_Node]:
    return [node.prefix(address, length) for node in nodes for address, length in prefixes or [("", 0)]]


def _find_prefix(node: _Node, address: Address) -> _Node | None:
    table = node.prefixes
    if table is None:
        return None
    if address.kind != KIND_IP:
        return table.find(_PIPE_AS, False)
    return table.find(address.packed(), address.is_v6)


def is_same_ip_or_loopback(info: ConnectionInfo) -> bool:
    """Envoy's notion of a local connection: a Unix socket, 127.0.0.1 or ::1, or both ends on one address."""
    remote = info.remote_address
    if remote.kind == KIND_PIPE:
        return True
    if remote.kind != KIND_IP:
        return False
    packed = remote.packed()
    if packed == (1 if remote.is_v6 else _V4_LOOPBACK):
        return True
    local = info.local_address
    return local.kind == KIND_IP and local.is_v6 == remote.is_v6 and local.packed() == packed
