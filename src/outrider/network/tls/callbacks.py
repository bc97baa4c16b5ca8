"""What OpenSSL calls during a handshake.

Handshakes are synchronous calls on the loop's thread, so the connection whose handshake runs is simply noted in
`ACTIVE`. An exception in a callback fails the handshake; it is logged by cffi with its traceback.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from outrider.network.tls.openssl import NULL, ffi, lib

if TYPE_CHECKING:
    from outrider.network.tls.socket import TlsTransportSocket

_log: Final = logging.getLogger("outrider.connection")


class Active:
    """The connection whose handshake runs."""

    __slots__ = ("socket",)

    def __init__(self) -> None:
        self.socket: TlsTransportSocket | None = None


ACTIVE: Final = Active()


def _failed(kind: Any, error: BaseException, trace: Any) -> None:
    _log.error("TLS callback failed", exc_info=(kind, error, trace))


def _on_verify(ok: int, store: Any) -> int:
    socket = ACTIVE.socket
    return 1 if socket is not None and socket.verify.on_certificate(ok == 1, store) else 0


def _on_server_name(ssl: Any, alert: Any, argument: Any) -> int:
    socket = ACTIVE.socket
    if socket is not None:
        name = lib.SSL_get_servername(ssl, lib.TLSEXT_NAMETYPE_host_name)
        if name != NULL:
            socket.server_name = ffi.string(name).decode("latin-1")
        chosen = socket.context.choose_certificate(socket.server_name)
        if chosen is not None:
            lib.SSL_set_SSL_CTX(ssl, chosen)
    return int(lib.SSL_TLSEXT_ERR_OK)


def _on_alpn(ssl: Any, out: Any, out_size: Any, offered: Any, offered_size: int, argument: Any) -> int:
    socket = ACTIVE.socket
    if socket is not None:
        data = bytes(ffi.buffer(offered, offered_size)[:])
        places: dict[bytes, int] = {}
        position = 0
        while position < len(data):
            size = data[position]
            places.setdefault(data[position + 1 : position + 1 + size], position)
            position += 1 + size
        # The server's order decides (RFC 7301 section 3.2). Without a common one the handshake goes on, as in Envoy.
        for wanted in socket.context.alpn:
            place = places.get(wanted)
            if place is not None:
                out[0] = offered + place + 1
                out_size[0] = len(wanted)
                return int(lib.SSL_TLSEXT_ERR_OK)
    return int(lib.SSL_TLSEXT_ERR_NOACK)


def _on_key_log(ssl: Any, line: Any) -> None:
    socket = ACTIVE.socket
    if socket is not None and socket.context.key_log is not None:
        socket.context.key_log.write(ffi.string(line), socket.callbacks)


def _on_status(ssl: Any, argument: Any) -> int:
    """A client asks for an OCSP response."""
    socket = ACTIVE.socket
    staple = b"" if socket is None else socket.context.staple_for(ssl)
    if not staple:
        return int(lib.SSL_TLSEXT_ERR_NOACK)
    # OpenSSL takes the memory over.
    memory = lib.OPENSSL_malloc(len(staple))
    ffi.memmove(memory, staple, len(staple))
    lib.SSL_set_tlsext_status_ocsp_resp(ssl, memory, len(staple))
    return int(lib.SSL_TLSEXT_ERR_OK)


VERIFY: Final[Any] = ffi.callback("int(int, X509_STORE_CTX *)", _on_verify, error=0, onerror=_failed)
SERVER_NAME: Final[Any] = ffi.callback(
    "int(SSL *, int *, void *)", _on_server_name, error=lib.SSL_TLSEXT_ERR_ALERT_FATAL, onerror=_failed
)
ALPN: Final[Any] = ffi.callback(
    "int(SSL *, unsigned char **, unsigned char *, unsigned char *, unsigned int, void *)",
    _on_alpn,
    error=lib.SSL_TLSEXT_ERR_ALERT_FATAL,
    onerror=_failed,
)
KEY_LOG: Final[Any] = ffi.callback("void(SSL *, char *)", _on_key_log, onerror=_failed)
STATUS: Final[Any] = ffi.callback("int(SSL *, void *)", _on_status, error=lib.SSL_TLSEXT_ERR_NOACK, onerror=_failed)
