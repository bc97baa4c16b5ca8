"""What filters ask of the upstream connection's TLS by filter state: server name, subject names, protocols.

Source: Envoy documentation, "Well known filter state objects": `envoy.network.upstream_server_name`,
`envoy.network.upstream_subject_alt_names`, `envoy.network.application_protocols`.
"""

from __future__ import annotations

from typing import Final

from outrider.data.filter_state import FilterStateObject
from outrider.network.transport_socket import NO_OPTIONS, TransportSocketOptions

SERVER_NAME: Final = "envoy.network.upstream_server_name"
SUBJECT_ALT_NAMES: Final = "envoy.network.upstream_subject_alt_names"
APPLICATION_PROTOCOLS: Final = "envoy.network.application_protocols"


def with_filter_state(
    state: dict[str, object] | None, other: TransportSocketOptions | None
) -> TransportSocketOptions | None:
    """`other` with what filter state says, which wins; `other` itself where it says nothing."""
    if state is None:
        return other
    name = _text(state, SERVER_NAME)
    sans = _text(state, SUBJECT_ALT_NAMES)
    protocols = _text(state, APPLICATION_PROTOCOLS)
    if not name and not sans and not protocols:
        return other
    base = NO_OPTIONS if other is None else other
    return TransportSocketOptions(
        name or base.server_name, _names(sans) or base.verify_sans, _names(protocols) or base.alpn, base.alpn_fallback
    )


def _text(state: dict[str, object], key: str) -> str:
    held = state.get(key)
    text = held.serialize() if isinstance(held, FilterStateObject) else None
    return text or ""


def _names(text: str) -> tuple[str, ...]:
    return tuple([name.strip() for name in text.split(",") if name.strip()])
