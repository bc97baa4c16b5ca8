"""Extensions of the PROXY headers that upstreams of the TCP proxy are sent (`proxy_protocol_tlvs`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.access_log.context import FormatContext
from outrider.access_log.format_string import parse_format_string
from outrider.network.proxy_protocol import OPTIONS_KEY, ProxyHeader, ProxyOptions, Tlv, options_for
from outrider.network.transport_socket import NO_OPTIONS, TransportSocketOptions

if TYPE_CHECKING:
    from outrider.access_log.formatter import LineFormatter
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.network.tcp_proxy import TcpProxy

# ProxyProtocolTlvMergePolicy: what becomes of the extensions of a header that came in.
ADD_IF_ABSENT: Final = "ADD_IF_ABSENT"
OVERWRITE: Final = "OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD"


class TlvEntry:
    """One configured extension: a value, or what a format makes of the connection."""

    __slots__ = ("kind", "value", "formatter")

    def __init__(self, kind: int, value: bytes, formatter: LineFormatter | None) -> None:
        self.kind = kind
        self.value = value
        self.formatter = formatter


class TlvSettings:
    """All of them."""

    __slots__ = ("entries", "policy", "constant")

    def __init__(self, entries: list[TlvEntry], policy: str) -> None:
        self.entries = entries
        self.policy = policy
        # Where nothing is formatted.
        self.constant: list[Tlv] | None = None
        if all(entry.formatter is None for entry in entries):
            self.constant = [Tlv(entry.kind, entry.value) for entry in entries]

    def make(self, proxy: TcpProxy) -> list[Tlv]:
        """For one connection."""
        info = proxy.info
        if self.constant is not None or info is None:
            return self.constant or []
        context = FormatContext(info)
        return [
            Tlv(entry.kind, entry.value if entry.formatter is None else entry.formatter.format_bytes(context))
            for entry in self.entries
        ]

    def options(self, proxy: TcpProxy, other: TransportSocketOptions | None) -> ProxyOptions:
        """For whom the upstream connection is made, and what else is said of the client."""
        info = proxy.connection.info
        header = None if info.filter_state is None else info.filter_state.get(OPTIONS_KEY)
        if self.policy == ADD_IF_ABSENT or not isinstance(header, ProxyHeader):
            tlvs = [] if isinstance(header, ProxyHeader) else self.make(proxy)
            return options_for(info.filter_state, info.remote_address, info.local_address, tlvs, other)
        own = self.make(proxy)
        merged = ProxyHeader(header.version, header.size, header.source, header.destination)
        if self.policy == OVERWRITE:
            kinds = {tlv.kind for tlv in own}
            merged.tlvs = own + [tlv for tlv in header.tlvs if tlv.kind not in kinds]
        else:
            merged.tlvs = header.tlvs + own
        return ProxyOptions(merged, NO_OPTIONS if other is None else other)


def read_tlv_settings(config: View, context: FactoryContext) -> TlvSettings:
    """From a TcpProxy. Raises ConfigError."""
    entries: list[TlvEntry] = []
    for view in config.messages("proxy_protocol_tlvs"):
        text = view.message("format_string")
        if text is not None:
            if view.has("value"):
                raise view.error("Invalid TLV configuration: only one of 'value' or 'format_string' may be set.")
            entries.append(TlvEntry(view.integer("type"), b"", parse_format_string(text, context).formatter))
        elif view.has("value"):
            entries.append(TlvEntry(view.integer("type"), view.data("value"), None))
        else:
            raise view.error("Invalid TLV configuration: one of 'value' or 'format_string' must be set.")
    return TlvSettings(entries, config.enum("proxy_protocol_tlv_merge_policy"))
