"""envoy.transport_sockets.tls: TLS towards clients and upstreams. The libraries are loaded when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.network.transport_socket import (
    DOWNSTREAM_TRANSPORT_SOCKETS,
    UPSTREAM_TRANSPORT_SOCKETS,
    TransportSocketFactory,
)

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


@UPSTREAM_TRANSPORT_SOCKETS.register(
    "envoy.transport_sockets.tls", "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "tls"
)
def create_upstream(view: View, context: FactoryContext) -> TransportSocketFactory:
    try:
        from outrider.network.tls.factory import UpstreamTlsFactory
    except ImportError as error:
        raise view.error(f"TLS is not available: {error}") from None
    return UpstreamTlsFactory(view, context)


@DOWNSTREAM_TRANSPORT_SOCKETS.register(
    "envoy.transport_sockets.tls", "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", "tls"
)
def create_downstream(view: View, context: FactoryContext) -> TransportSocketFactory:
    try:
        from outrider.network.tls.factory import DownstreamTlsFactory
    except ImportError as error:
        raise view.error(f"TLS is not available: {error}") from None
    return DownstreamTlsFactory(view, context)
