"""One TLS connection as an engine: OpenSSL between two memory buffers."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from outrider.data.stream_info import SslInfo
from outrider.network.tls.ciphers import GROUP_NAMES, SIGALG_NAMES
from outrider.network.tls.errors import failure_text, tls_error, verify_failed
from outrider.network.tls.info import TlsInfo
from outrider.network.tls.peek import HandshakePeek
from outrider.network.tls.validation import check_peer
from outrider.network.transport_socket import TransportSocket, TransportSocketCallbacks

if TYPE_CHECKING:
    from outrider.network.tls.factory import TlsFactory

_READ_SIZE: Final = 65536
# Plaintext that is kept until the handshake is done. Whoever writes that early is us; a tunnel may do so.
_MAX_EARLY: Final = 16 * 1024 * 1024

_HANDSHAKE: Final = 0
_OPEN: Final = 1
_FAILED: Final = 2


class TlsTransportSocket(TransportSocket):
    """See the module. `wanted_sans` replace the configured SAN matchers of a client."""

    def __init__(
        self, factory: TlsFactory, context: ssl.SSLContext, server_name: str, wanted_sans: tuple[str, ...]
    ) -> None:
        self.factory = factory
        self.wanted_sans = wanted_sans
        self.server_name = server_name
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.engine: ssl.SSLObject = context.wrap_bio(
            self.incoming, self.outgoing, server_side=not factory.is_client, server_hostname=server_name or None
        )
        self.callbacks: TransportSocketCallbacks | None = None
        self.state: int = _HANDSHAKE
        self.early: list[bytes] = []
        self.early_size: int = 0
        self.early_end: bool = False
        self.write_ended: bool = False
        self.read_ended: bool = False
        self.failure: str = ""
        self.info: TlsInfo | None = None
        # The peer has sent anything but one flight's worth of alert.
        self.heard: int = 0
        self.peek: HandshakePeek | None = HandshakePeek()
        # Certificate that this side showed.
        self.local_der: bytes = factory.default_local_der
        factory.prepare(self)

    # --- from the connection ---

    def set_callbacks(self, callbacks: TransportSocketCallbacks) -> None:
        self.callbacks = callbacks

    def on_transport_connected(self) -> None:
        self._handshake()

    def on_raw_data(self, data: bytes) -> None:
        if self.state == _FAILED:
            return
        self.incoming.write(data)
        if self.state == _HANDSHAKE:
            if self.peek is not None and self.factory.is_client:
                self.peek.add(data)
            self._handshake()
            self.heard += 1
            if self.state != _OPEN:
                return
        self._read()

    def on_raw_eof(self) -> None:
        callbacks = self.callbacks
        if callbacks is None or self.state == _FAILED:
            return
        if self.state == _HANDSHAKE:
            # The peer went away without a word: no error of TLS, and nothing to say about it.
            if self.factory.is_client:
                self.state = _FAILED
                callbacks.deliver(b"", True)
            else:
                self._fail("")
            return
        if not self.read_ended:
            self.read_ended = True
            callbacks.deliver(b"", True)

    def write(self, data: bytes, end_stream: bool) -> None:
        if self.state == _FAILED or self.write_ended:
            return
        if self.state == _HANDSHAKE:
            if data and self.early_size + len(data) <= _MAX_EARLY:
                self.early.append(data)
                self.early_size += len(data)
            self.early_end = self.early_end or end_stream
            return
        if data:
            try:
                self.engine.write(data)
            except ssl.SSLError as error:
                self._fail(failure_text(error, False))
                return
            self._flush()
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
        self.factory.remember_session(self)
        self.callbacks = None

    def pending_bytes(self) -> int:
        return self.early_size

    def ssl_info(self) -> SslInfo | None:
        return self.info

    def protocol(self) -> str:
        return (self.engine.selected_alpn_protocol() or "") if self.state == _OPEN else ""

    def failure_reason(self) -> str:
        return self.failure

    # --- the engine ---

    def _flush(self) -> None:
        outgoing = self.outgoing
        if outgoing.pending and self.callbacks is not None:
            data = outgoing.read()
            if self.peek is not None and not self.factory.is_client:
                self.peek.add(data)
            self.callbacks.raw_write(data)

    def _handshake(self) -> None:
        try:
            self.engine.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            # The alert goes out before the connection is closed.
            self._flush()
            self._on_handshake_error(error)
            return
        except ssl.CertificateError as error:
            self._flush()
            self._fail(verify_failed(str(error)))
            return
        self._flush()
        self._on_handshake_done()

    def _on_handshake_error(self, error: ssl.SSLError) -> None:
        stats = self.factory.stats
        if isinstance(error, ssl.SSLCertVerificationError):
            stats.fail_verify_error.inc()
        elif error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            stats.fail_verify_no_cert.inc()
            self._fail(tls_error(error.reason, "peer did not provide required client certificate"))
            return
        else:
            stats.connection_error.inc()
        self._fail(failure_text(error, self.heard == 0))

    def _on_handshake_done(self) -> None:
        factory = self.factory
        stats = factory.stats
        der = self.engine.getpeercert(True) or b""
        if der:
            refusal = check_peer(der, factory.settings.validation, self.wanted_sans, stats)
            if refusal:
                self._fail(verify_failed(refusal))
                return
        elif not factory.accepts_no_certificate():
            stats.fail_verify_no_cert.inc()
            self._fail(
                tls_error("PEER_DID_NOT_RETURN_A_CERTIFICATE", "peer did not provide required client certificate")
            )
            return
        else:
            stats.no_certificate.inc()
        self.state = _OPEN
        self.info = TlsInfo(self.engine, self.server_name, self.local_der, bool(der) and factory.validates())
        self._count()
        callbacks = self.callbacks
        if callbacks is None:
            return
        callbacks.raise_connected()
        if self.early or self.early_end:
            data = b"".join(self.early)
            self.early = []
            self.early_size = 0
            self.write(data, self.early_end)

    def _count(self) -> None:
        stats = self.factory.stats
        stats.handshake.inc()
        engine = self.engine
        if engine.session_reused:
            stats.session_reused.inc()
        used = engine.cipher()
        if used is not None:
            stats.count("ciphers", used[0])
        version = engine.version()
        if version is not None:
            stats.count("versions", version)
        peek = self.peek
        self.peek = None
        if peek is not None:
            group, scheme = peek.read()
            name = GROUP_NAMES.get(group)
            if name is not None:
                stats.count("curves", name)
            # A server learns its client's algorithm only in encrypted messages.
            algorithm = SIGALG_NAMES.get(scheme) if self.factory.is_client else None
            if algorithm is not None:
                stats.count("sigalgs", algorithm)

    def _read(self) -> None:
        callbacks = self.callbacks
        engine = self.engine
        incoming = self.incoming
        chunks: list[bytes] = []
        ended = False
        error: ssl.SSLError | None = None
        while True:
            try:
                chunk = engine.read(_READ_SIZE)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                ended = True
                break
            except ssl.SSLError as caught:
                error = caught
                break
            if not chunk:
                ended = True
                break
            chunks.append(chunk)
            # Asking for more when there is none costs an exception.
            if not incoming.pending and not engine.pending():
                break
        # Answers to key updates and the like.
        self._flush()
        if callbacks is None:
            return
        if chunks:
            callbacks.deliver(chunks[0] if len(chunks) == 1 else b"".join(chunks), False)
        if ended and not self.read_ended:
            self.read_ended = True
            callbacks.deliver(b"", True)
        elif error is not None:
            self.factory.stats.connection_error.inc()
            self._fail(failure_text(error, False))

    def _close_notify(self) -> None:
        try:
            self.engine.unwrap()
        except (ssl.SSLError, ValueError):
            # The peer's answer has not come, which nobody waits for.
            pass
        self._flush()

    def _fail(self, details: str) -> None:
        if self.state == _FAILED:
            return
        self.state = _FAILED
        self.failure = details
        callbacks = self.callbacks
        if callbacks is not None:
            callbacks.transport_failed(details)
