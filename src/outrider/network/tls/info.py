"""TLS facts of a connection for logs, headers and matchers."""

from __future__ import annotations

import ssl

from outrider.data.stream_info import SslInfo


class TlsInfo(SslInfo):
    """Read from the TLS library when asked for; facts that nobody asks for cost nothing."""

    def __init__(self, engine: ssl.SSLObject, server_name: str, local_der: bytes, validated: bool) -> None:
        self._engine = engine
        self._server_name = server_name
        self._local_der = local_der
        self._validated = validated
        self._peer: bytes | None = None
        self._cipher: str = ""
        self._version: str = ""

    def alpn(self) -> str:
        return self._engine.selected_alpn_protocol() or ""

    def sni(self) -> str:
        return self._server_name

    def tls_version(self) -> str:
        if not self._version:
            self._version = self._engine.version() or ""
        return self._version

    def cipher(self) -> str:
        if not self._cipher:
            used = self._engine.cipher()
            self._cipher = used[0] if used else ""
        return self._cipher

    def session_id(self) -> str:
        session = self._engine.session
        return "" if session is None else session.id.hex()

    def peer_presented(self) -> bool:
        return bool(self.peer_certificate_der())

    def peer_validated(self) -> bool:
        return self._validated

    def peer_certificate_der(self) -> bytes:
        peer = self._peer
        if peer is None:
            peer = self._engine.getpeercert(True) or b""
            self._peer = peer
        return peer

    def peer_chain_der(self) -> list[bytes]:
        """What the peer sent, its own certificate first."""
        inner = getattr(self._engine, "_sslobj", None)
        chain = None if inner is None else inner.get_unverified_chain()
        if not chain:
            leaf = self.peer_certificate_der()
            return [leaf] if leaf else []
        return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain]

    def local_certificate_der(self) -> bytes:
        return self._local_der
