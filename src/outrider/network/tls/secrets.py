"""The secrets that one TLS context refers to by name, and what stands in for it while they have not come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from outrider.config.secrets import Secret, use_secret
from outrider.network.transport_socket import TransportSocket, TransportSocketCallbacks

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


NOT_READY: Final = "TLS error: Secret is not supplied by SDS"


class TlsSecrets:
    """Finds secrets for the references of one context: each is asked for once, however often the context is read."""

    __slots__ = ("_by_reference", "_context", "_on_update")

    def __init__(self, context: FactoryContext, on_update: Callable[[], None]) -> None:
        self._context = context
        self._on_update = on_update
        # By the identity of the reference's view, which is kept for as long.
        self._by_reference: dict[int, tuple[View, Secret]] = {}

    def find(self, reference: View, kind: str, complaint: str) -> View | None:
        """The message that an SdsSecretConfig names, None while it has not come. Raises ConfigError."""
        known = self._by_reference.get(id(reference))
        if known is None:
            secret = use_secret(reference, kind, complaint, self._context, self._on_update)
            known = self._by_reference[id(reference)] = (reference, secret)
        return known[1].view()


class NotReadySocket(TransportSocket):
    """A connection whose secrets have not come (Envoy's NotReadySslSocket).

    It is closed as soon as it has to do something: a client's when it is connected, a server's with the first bytes.
    """

    def __init__(self, is_client: bool) -> None:
        self._is_client = is_client
        self._callbacks: TransportSocketCallbacks | None = None

    def set_callbacks(self, callbacks: TransportSocketCallbacks) -> None:
        self._callbacks = callbacks

    def on_transport_connected(self) -> None:
        if self._is_client:
            self._fail()

    def on_raw_data(self, data: bytes) -> None:
        self._fail()

    def on_raw_eof(self) -> None:
        self._fail()

    def write(self, data: bytes, end_stream: bool) -> None:
        """There is no way to send it. Until the real socket is connected that is no failure."""

    def _fail(self) -> None:
        callbacks = self._callbacks
        if callbacks is not None:
            self._callbacks = None
            callbacks.transport_failed(NOT_READY)

    def on_closed(self) -> None:
        self._callbacks = None
