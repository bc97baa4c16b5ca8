"""One TLS connection as an engine: OpenSSL between two memory buffers.

Bytes from the wire go into one BIO and come out of SSL_read, as many as there are at once; what is written goes through
SSL_write, and the records leave the other BIO in one piece. Nothing is kept here but what OpenSSL keeps: an unfinished
record, and what was written before the handshake is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.data.stream_info import SslInfo
from outrider.native.load_tls import bind, new_records
from outrider.network.tls.callbacks import ACTIVE
from outrider.network.tls.error_text import (
    NO_CLIENT_CERTIFICATE,
    RESET_TEXT,
    VERIFY_FAILED,
    failure_text,
    key_usage_text,
    reason_name,
)
from outrider.network.tls.info import TlsInfo, selected_alpn
from outrider.network.tls.openssl import (
    READ_BUFFER,
    READ_SIZE,
    WRITE_BUFFER,
    WRITE_CHUNK,
    WRITE_SIZE,
    OpenSslError,
    ffi,
    lib,
    take_errors,
)
from outrider.network.tls.peer_check import PeerCheck
from outrider.network.tls.signature import key_usage_fits, signature_algorithm
from outrider.network.transport_socket import TransportSocket, TransportSocketCallbacks

if TYPE_CHECKING:
    from outrider.native.tls import Records
    from outrider.network.tls.context import TlsContext
    from outrider.network.tls.factory import TlsFactory

# Plaintext that is kept until the handshake is done. Whoever writes that early is us; a tunnel may do so.
_MAX_EARLY: Final = 16 * 1024 * 1024
# What a peer may send before its handshake is done: more than any certificate chain takes.
_MAX_HANDSHAKE: Final = 512 * 1024

_HANDSHAKE: Final = 0
_OPEN: Final = 1
_FAILED: Final = 2

_WANT_READ: Final[int] = lib.SSL_ERROR_WANT_READ
_ZERO_RETURN: Final[int] = lib.SSL_ERROR_ZERO_RETURN
_HANDSHAKE_FAILURE: Final = 1040
# Whether records go through the native binding instead of cffi.
_NATIVE: Final[bool] = bind()


class TlsTransportSocket(TransportSocket):
    """See the module. `alpn` is the extension's list where it differs from the context's."""

    def __init__(
        self, factory: TlsFactory, context: TlsContext, server_name: str, wanted: tuple[str, ...], alpn: bytes
    ) -> None:
        self.factory = factory
        self.context = context
        self.is_client: bool = context.is_client
        self.server_name: str = server_name
        self.verify = PeerCheck(context.settings.validation, wanted, context.stats)
        self.callbacks: TransportSocketCallbacks | None = None
        self.state: int = _HANDSHAKE
        self.early: list[bytes] = []
        self.early_size: int = 0
        self.early_end: bool = False
        self.write_ended: bool = False
        self.read_ended: bool = False
        self.failure: str = ""
        self.info: TlsInfo | None = None
        # Bytes of the handshake received.
        self.heard: int = 0
        # A client's session is still to be kept: TLS 1.3 sends tickets after the handshake.
        self.keep_session: bool = False
        # A session stands for a certificate that was checked for these names.
        self.session_name: str = "\0".join((server_name, *wanted))
        ssl = ffi.gc(lib.SSL_new(context.handle), lib.SSL_free)
        self.ssl: Any = ssl
        # The connection owns its BIOs.
        self.incoming: Any = lib.BIO_new(lib.BIO_s_mem())
        self.outgoing: Any = lib.BIO_new(lib.BIO_s_mem())
        lib.BIO_set_mem_eof_return(self.incoming, -1)
        lib.BIO_set_mem_eof_return(self.outgoing, -1)
        lib.SSL_set_bio(ssl, self.incoming, self.outgoing)
        self.records: Records | None = None
        if _NATIVE:
            self.records = new_records(ffi, ssl, self.incoming, self.outgoing)
        if self.is_client:
            lib.SSL_set_connect_state(ssl)
            if server_name:
                lib.SSL_set_tlsext_host_name(ssl, server_name.encode())
            if alpn:
                lib.SSL_set_alpn_protos(ssl, alpn, len(alpn))
            factory.resume_session(self)
        else:
            lib.SSL_set_accept_state(ssl)

    # --- from the connection ---

    def set_callbacks(self, callbacks: TransportSocketCallbacks) -> None:
        self.callbacks = callbacks

    def on_transport_connected(self) -> None:
        # A server has nothing to say before the client has spoken.
        if self.is_client and self.state == _HANDSHAKE:
            self._handshake()

    def on_raw_data(self, data: bytes) -> None:
        state = self.state
        if state == _FAILED:
            return
        records = self.records
        if records is not None:
            records.feed(data)
        else:
            lib.BIO_write(self.incoming, data, len(data))
        if state == _HANDSHAKE:
            self.heard += len(data)
            self._handshake()
            if self.state != _OPEN:
                return
        self._read()

    def on_raw_eof(self) -> None:
        callbacks = self.callbacks
        if callbacks is None or self.state == _FAILED:
            return
        if self.state == _HANDSHAKE:
            # The peer went away without a word: no error of TLS, and nothing to say about it.
            self._fail("")
            return
        if not self.read_ended:
            # Without close_notify it counts as the end as well, as in Envoy: HTTP knows what is cut off.
            self.read_ended = True
            callbacks.deliver(b"", True)

    def write(self, data: bytes, end_stream: bool) -> None:
        if self.state != _OPEN:
            if self.state == _HANDSHAKE and not self.write_ended:
                self._keep_early(data, end_stream)
            return
        if self.write_ended:
            return
        if data and not self._write(data):
            return
        if end_stream:
            self.write_ended = True
            self._close_notify()
            if self.callbacks is not None:
                self.callbacks.raw_close_write()

    def shutdown(self) -> None:
        if self.state == _OPEN and not self.write_ended:
            self.write_ended = True
            self._close_notify()

    def on_closed(self) -> None:
        if self.keep_session and self.state == _OPEN:
            self.factory.remember_session(self)
        self.keep_session = False
        self.callbacks = None

    def pending_bytes(self) -> int:
        return self.early_size

    def ssl_info(self) -> SslInfo | None:
        return self.info

    def protocol(self) -> str:
        return selected_alpn(self.ssl) if self.state == _OPEN else ""

    def failure_reason(self) -> str:
        return self.failure

    def reset_reason(self) -> str:
        return RESET_TEXT

    # --- the engine ---

    def _is_open(self) -> bool:
        """Whether there is anyone left to deliver to."""
        return self.callbacks is not None and self.state == _OPEN

    def _keep_early(self, data: bytes, end_stream: bool) -> None:
        if data and self.early_size + len(data) <= _MAX_EARLY:
            self.early.append(data)
            self.early_size += len(data)
        self.early_end = self.early_end or end_stream

    def _write(self, data: bytes) -> bool:
        """Encrypt and send. False: the connection has failed."""
        ssl = self.ssl
        size = len(data)
        records = self.records
        if records is not None:
            reached = 0
            while reached < size:
                reached = records.write(data, reached)
                if reached < 0:
                    self._broken(take_errors())
                    return False
                self._flush()
                if not self._is_open():
                    return False
            return True
        if size <= WRITE_CHUNK:
            if lib.SSL_write(ssl, data, size) != size:
                self._broken(take_errors())
                return False
            self._flush()
            return self.state == _OPEN
        whole = ffi.from_buffer(data)
        position = 0
        while position < size:
            chunk = min(WRITE_CHUNK, size - position)
            if lib.SSL_write(ssl, whole + position, chunk) != chunk:
                self._broken(take_errors())
                return False
            position += chunk
            self._flush()
            if not self._is_open():
                return False
        return True

    def _flush(self) -> None:
        """Hand what OpenSSL has to say to the wire, in as few pieces as the buffer allows."""
        records = self.records
        if records is not None:
            taken = records.take()
            if taken and self.callbacks is not None:
                self.callbacks.raw_write(taken)
            return
        while True:
            size = lib.BIO_read(self.outgoing, WRITE_BUFFER, WRITE_SIZE)
            if size <= 0 or self.callbacks is None:
                return
            self.callbacks.raw_write(ffi.buffer(WRITE_BUFFER, size)[:])
            if size < WRITE_SIZE:
                return

    def _handshake(self) -> None:
        ssl = self.ssl
        ACTIVE.socket = self
        result = lib.SSL_do_handshake(ssl)
        ACTIVE.socket = None
        if result == 1:
            self._flush()
            self._on_handshake_done()
            return
        error = lib.SSL_get_error(ssl, result)
        # The alert goes out before the connection is closed.
        self._flush()
        if error != _WANT_READ:
            self._on_handshake_error(take_errors())
        elif self.heard > _MAX_HANDSHAKE:
            self.context.stats.connection_error.inc()
            self._fail(failure_text([OpenSslError("SSL routines", 0, "excessive message size")], ""))

    def _on_handshake_error(self, errors: list[OpenSslError]) -> None:
        stats = self.context.stats
        names = [reason_name(error) for error in errors]
        if NO_CLIENT_CERTIFICATE in names:
            stats.fail_verify_no_cert.inc()
        elif VERIFY_FAILED not in names:
            stats.connection_error.inc()
        if self.is_client and len(errors) == 1 and errors[0].reason == _HANDSHAKE_FAILURE and self._first_answer():
            # BoringSSL says where the alert came.
            errors.append(OpenSslError("SSL routines", 0, "handshake failure on client hello"))
        self._fail(failure_text(errors, self.verify.details))

    def _first_answer(self) -> bool:
        """Whether nothing but an alert has come from the server."""
        return self.heard <= 7

    def _on_handshake_done(self) -> None:
        check = self.verify
        stats = self.context.stats
        info = TlsInfo(self.ssl, self.is_client, self.server_name, check.validated)
        reused = lib.SSL_session_reused(self.ssl) == 1
        self.state = _OPEN
        self.info = info
        validation = check.validation
        presented = check.leaf_checked
        if not presented and not reused and validation is not None and validation.asks_for_certificate:
            # A certificate that was not checked must not pass.
            if info.peer_presented():
                self._fail(failure_text([OpenSslError("SSL routines", 0, "certificate verify failed")], "not checked"))
                return
        if self.is_client and not reused and not key_usage_fits(info):
            stats.connection_error.inc()
            self._fail(key_usage_text())
            return
        stats.handshake.inc()
        if reused:
            stats.session_reused.inc()
        shown = self.is_client or presented or (reused and info.peer_presented())
        if not shown:
            stats.no_certificate.inc()
        stats.count("ciphers", info.cipher())
        version = info.tls_version()
        stats.count("versions", version)
        group = info.group()
        if group:
            stats.count("curves", group)
        if shown:
            algorithm = signature_algorithm(info)
            if algorithm:
                stats.count("sigalgs", algorithm)
        if self.is_client and self.factory.keeps_sessions():
            if version == "TLSv1.3":
                self.keep_session = True
            else:
                self.factory.remember_session(self)
        callbacks = self.callbacks
        if callbacks is None:
            return
        callbacks.raise_connected()
        if self.early or self.early_end:
            data = b"".join(self.early)
            self.early = []
            self.early_size = 0
            self.write(data, self.early_end)

    def _receiver(self) -> TransportSocketCallbacks | None:
        """By way of a method: the type checker would take it for granted that the last look still holds."""
        return self.callbacks

    def _read(self) -> None:
        """Decrypt all that has come, and deliver it in pieces of at most the buffer's size."""
        records = self.records
        if records is None:
            self._read_by_cffi()
            return
        data = records.read()
        while records.error == 0:
            receiver = self._receiver()
            if receiver is None:
                return
            receiver.deliver(data, False)
            # The receiver may have closed the connection.
            if not self._is_open():
                return
            data = records.read()
        self._end_read(data, records.error)

    def _read_by_cffi(self) -> None:
        ssl = self.ssl
        filled = 0
        while True:
            size = lib.SSL_read(ssl, READ_BUFFER + filled, READ_SIZE - filled)
            if size > 0:
                filled += size
                if filled < READ_SIZE:
                    continue
                data = ffi.buffer(READ_BUFFER, filled)[:]
                filled = 0
                receiver = self._receiver()
                if receiver is None:
                    return
                receiver.deliver(data, False)
                # The receiver may have closed the connection.
                if not self._is_open():
                    return
                continue
            error = lib.SSL_get_error(ssl, size)
            break
        self._end_read(ffi.buffer(READ_BUFFER, filled)[:] if filled else b"", error)

    def _end_read(self, data: bytes, error: int) -> None:
        """The last piece, and why there is no more."""
        if self.keep_session and data:
            # The server's tickets come before its first answer.
            self.keep_session = False
            self.factory.remember_session(self)
        # Answers to key updates and the like.
        self._flush()
        callbacks = self.callbacks
        if callbacks is None:
            return
        if error == _WANT_READ:
            if data:
                callbacks.deliver(data, False)
        elif error == _ZERO_RETURN:
            if not self.read_ended:
                self.read_ended = True
                callbacks.deliver(data, True)
        else:
            errors = take_errors()
            if data:
                callbacks.deliver(data, False)
            self._broken(errors)

    def _broken(self, errors: list[OpenSslError]) -> None:
        """A record that cannot be read, or data that cannot be written: the connection ends.

        Upstream that counts as a connection lost, not as one that could not be made: its reason stays in here.
        """
        self.context.stats.connection_error.inc()
        text = failure_text(errors, "")
        self._fail("" if self.is_client else text)
        self.failure = text

    def _close_notify(self) -> None:
        if lib.SSL_shutdown(self.ssl) < 0:
            take_errors()
        self._flush()

    def _fail(self, details: str) -> None:
        if self.state == _FAILED:
            return
        if self.info is None:
            self.info = TlsInfo(self.ssl, self.is_client, self.server_name, False, self.verify.peer)
        self.state = _FAILED
        self.failure = details
        callbacks = self.callbacks
        if callbacks is not None:
            callbacks.transport_failed(details)
