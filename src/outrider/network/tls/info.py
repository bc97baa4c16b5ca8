"""TLS facts of a connection for logs, headers and matchers: read from OpenSSL when asked for, and then kept."""

from __future__ import annotations

from typing import Any, Final

from outrider.data.stream_info import SslInfo
from outrider.network.tls.openssl import c_text, certificate_der, ffi, lib, take_errors

# OpenSSL's names of groups, where BoringSSL has others.
_GROUPS: Final = {
    "x25519": "X25519", "secp256r1": "P-256", "prime256v1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521",
    "x448": "X448",
}


class TlsInfo(SslInfo):
    """`ssl` is OpenSSL's connection, which lives as long as this."""

    def __init__(self, ssl: Any, is_client: bool, server_name: str, validated: bool, peer: bytes = b"") -> None:
        self._ssl = ssl
        self._is_client = is_client
        self._server_name = server_name
        self._validated = validated
        # Given where the peer's certificate was refused, which OpenSSL forgets.
        self._peer: bytes | None = peer or None
        self._local: bytes | None = None
        self._cipher: str = ""
        self._version: str = ""
        self._group: str | None = None

    def alpn(self) -> str:
        return selected_alpn(self._ssl)

    def sni(self) -> str:
        if not self._server_name and not self._is_client:
            self._server_name = c_text(lib.SSL_get_servername(self._ssl, lib.TLSEXT_NAMETYPE_host_name))
        return self._server_name

    def tls_version(self) -> str:
        if not self._version:
            self._version = c_text(lib.SSL_get_version(self._ssl))
        return self._version

    def cipher(self) -> str:
        if not self._cipher:
            used = lib.SSL_get_current_cipher(self._ssl)
            self._cipher = "" if used == ffi.NULL else c_text(lib.SSL_CIPHER_get_name(used))
        return self._cipher

    def group(self) -> str:
        group = self._group
        if group is None:
            name = c_text(lib.SSL_get0_group_name(self._ssl))
            group = self._group = _GROUPS.get(name, name)
            take_errors()
        return group

    def session_id(self) -> str:
        # TLS 1.3 has no session ids; what OpenSSL keeps in their place is its own.
        if self.tls_version() == "TLSv1.3":
            return ""
        return session_id(self._ssl).hex()

    def peer_presented(self) -> bool:
        return bool(self.peer_certificate_der())

    def peer_validated(self) -> bool:
        return self._validated

    def peer_certificate_der(self) -> bytes:
        peer = self._peer
        if peer is None:
            certificate = lib.SSL_get_peer_certificate(self._ssl)
            peer = self._peer = certificate_der(certificate)
            if certificate != ffi.NULL:
                lib.X509_free(certificate)
        return peer

    def peer_chain_der(self) -> list[bytes]:
        """What the peer sent, its own certificate first."""
        leaf = self.peer_certificate_der()
        chain = lib.SSL_get_peer_cert_chain(self._ssl)
        if chain == ffi.NULL:
            return [leaf] if leaf else []
        found = [certificate_der(lib.sk_X509_value(chain, index)) for index in range(lib.sk_X509_num(chain))]
        # OpenSSL leaves a client's own certificate out of it on the server's side.
        return found if self._is_client or not leaf or leaf in found else [leaf, *found]

    def local_certificate_der(self) -> bytes:
        local = self._local
        if local is None:
            local = self._local = certificate_der(lib.SSL_get_certificate(self._ssl))
        return local


def selected_alpn(ssl: Any) -> str:
    """The protocol that was agreed on, else empty."""
    data = ffi.new("unsigned char **")
    size = ffi.new("unsigned int *")
    lib.SSL_get0_alpn_selected(ssl, data, size)
    return "" if size[0] == 0 else bytes(ffi.buffer(data[0], size[0])[:]).decode("latin-1")


def session_id(ssl: Any) -> bytes:
    """The id of a TLS 1.2 session, out of its ASN.1 form: version, protocol, cipher, id."""
    session = lib.SSL_get_session(ssl)
    if session == ffi.NULL:
        return b""
    size = lib.i2d_SSL_SESSION(session, ffi.NULL)
    if size <= 0:
        return b""
    buffer = ffi.new("unsigned char[]", size)
    pointer = ffi.new("unsigned char **", buffer)
    lib.i2d_SSL_SESSION(session, pointer)
    data = bytes(ffi.buffer(buffer, size)[:])
    position = _inside(data, 0)
    for _ in range(3):
        position = _after(data, position)
    start = _inside(data, position)
    return data[start : _after(data, position)]


def _inside(data: bytes, position: int) -> int:
    """Where the content of the DER value at a position begins."""
    length = data[position + 1]
    return position + 2 + (length & 0x7F if length & 0x80 else 0)


def _after(data: bytes, position: int) -> int:
    """Where the next value begins."""
    length = data[position + 1]
    start = _inside(data, position)
    if length & 0x80:
        length = int.from_bytes(data[position + 2 : start], "big")
    return start + length
