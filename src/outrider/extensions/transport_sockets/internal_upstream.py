"""envoy.transport_sockets.internal_upstream: connections to internal listeners take metadata along.

Source: Envoy documentation, "Internal listener", "Internal upstream transport".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.network.internal_connection import InternalUpstreamFactory
from outrider.network.transport_socket import RAW_BUFFER, UPSTREAM_TRANSPORT_SOCKETS, TransportSocketFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


@UPSTREAM_TRANSPORT_SOCKETS.register(
    "envoy.transport_sockets.internal_upstream",
    "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
)
def create(view: View, context: FactoryContext) -> TransportSocketFactory:
    """Raises ConfigError."""
    inner = view.message("transport_socket")
    factory = RAW_BUFFER if inner is None else UPSTREAM_TRANSPORT_SOCKETS.create(inner, context)
    names: list[tuple[str, str]] = []
    for each in view.messages("passthrough_metadata"):
        kind = each.message("kind")
        chosen = "" if kind is None else kind.which("kind") or ""
        if chosen not in ("host", "cluster"):
            raise each.error("metadata type is not supported", "kind")
        assert kind is not None
        kind.message(chosen)
        names.append((chosen, each.text("name")))
    return InternalUpstreamFactory(factory, names)
