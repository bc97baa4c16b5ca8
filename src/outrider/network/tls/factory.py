"""`UpstreamTlsContext` and `DownstreamTlsContext` as transport socket factories."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from outrider.config.view import View
from outrider.native.load_http2 import AVAILABLE as HTTP2_AVAILABLE
from outrider.network.tls.context import TlsContext, alpn_wire
from outrider.network.tls.openssl import ffi, lib
from outrider.network.tls.secrets import NotReadySocket, TlsSecrets
from outrider.network.tls.settings import TlsSettings, read_tls
from outrider.network.tls.socket import TlsTransportSocket
from outrider.network.tls.stats import SslStats
from outrider.network.transport_socket import (
    TransportSocket,
    TransportSocketFactory,
    TransportSocketOptions,
)

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext
    from outrider.stats.metrics import Counter

# Protocols without a codec here: not offered to a client who could also speak another of the list.
NOT_SPOKEN: Final = () if HTTP2_AVAILABLE else ("h2",)
_DEFAULT_SESSION_KEYS: Final = 1


@mypyc_attr(allow_interpreted_subclasses=True)
class TlsFactory(TransportSocketFactory):
    """What both sides share. `settings` and `context` change when a secret does."""

    settings: TlsSettings

    def __init__(self, view: View, context: FactoryContext, is_client: bool) -> None:
        """Raises ConfigError."""
        self.implements_secure_transport = True
        self.view = view
        self.is_client = is_client
        # None while a secret has not come.
        self.context: TlsContext | None = None
        self._scope = context.scope
        self._stats: SslStats | None = None
        scope = context.scope.scope(f"{'client' if is_client else 'server'}_ssl_socket_factory.")
        self._updates: Counter = scope.counter("ssl_context_update_by_sds")
        self._downstream_not_ready: Counter = scope.counter("downstream_context_secrets_not_ready")
        self._upstream_not_ready: Counter = scope.counter("upstream_context_secrets_not_ready")
        self.secrets = TlsSecrets(context, self.on_secret)
        self._load()

    @property
    def stats(self) -> SslStats:
        """They are there from the first context on, as in Envoy."""
        if self._stats is None:
            self._stats = SslStats(self._scope)
        return self._stats

    def _load(self) -> None:
        """Read the settings and build a context. Raises ConfigError and leaves everything as it was."""
        settings = read_tls(self.view.message("common_tls_context"), self.secrets, self.is_client)
        made = None if settings.missing else self.build(settings)
        if made is not None or self.context is None:
            self.settings = settings
            self.context = made
        if made is not None:
            self._show_expiry()

    def build(self, settings: TlsSettings) -> TlsContext:
        """A context for settings. Raises ConfigError."""
        raise NotImplementedError

    def on_secret(self) -> None:
        """A secret has come or changed: new connections use it. Raises ConfigError: it is of no use."""
        self._load()
        if self.context is not None:
            self._updates.inc()

    def _show_expiry(self) -> None:
        validation = self.settings.validation
        if validation is not None:
            expiry = [int(certificate.not_valid_after_utc.timestamp()) for certificate in validation.trusted]
            if expiry:
                self.stats.show_expiry(_stat_name("unnamed_ca_cert", validation.stat_name), min(expiry))
            else:
                self.stats.show_expiry("unnamed_ca_cert", None)
        for pair in self.settings.key_pairs:
            until = int(pair.leaf.not_valid_after_utc.timestamp())
            self.stats.show_expiry(_stat_name("unnamed_cert", pair.stat_name), until)

    def resume_session(self, transport_socket: TlsTransportSocket) -> None:
        """A client's connection begins."""

    def remember_session(self, transport_socket: TlsTransportSocket) -> None:
        """A client's connection has a session that may be resumed."""

    def keeps_sessions(self) -> bool:
        return False

    def supports_alpn(self) -> bool:
        return True


def _stat_name(kind: str, name: str) -> str:
    """The secret's name. Envoy names what has none after the hash of that empty name."""
    return name or f"{kind}_{hashlib.sha256(b'').hexdigest()[:8]}"


class UpstreamTlsFactory(TlsFactory):
    """Clients."""

    def __init__(self, view: View, context: FactoryContext) -> None:
        self.sni: str = view.text("sni")
        if "\0" in self.sni:
            raise view.error("SNI names containing NULL-byte are not allowed", "sni")
        self.auto_host_sni: bool = view.flag("auto_host_sni")
        self.auto_sni_san: bool = view.flag("auto_sni_san_validation")
        # Renegotiation is refused by this side always, which `false`, the default, asks for. Key usage is checked
        # always, whatever this field says: so it is in Envoy.
        view.accept("enforce_rsa_key_usage")
        self.max_sessions: int = view.integer("max_session_keys", _DEFAULT_SESSION_KEYS)
        # Newest last: context, what it was asked for, SSL_SESSION, and whether it may be used once only.
        self._sessions: list[tuple[TlsContext, str, Any, bool]] = []
        super().__init__(view, context, True)

    def build(self, settings: TlsSettings) -> TlsContext:
        validation = settings.validation
        if self.auto_sni_san and (validation is None or not validation.verifies_chain):
            raise self.view.error(
                "'auto_sni_san_validation' was configured without a validation context", "auto_sni_san_validation"
            )
        return TlsContext(settings, True, self.stats, self.view)

    def create(self, options: TransportSocketOptions | None) -> TransportSocket | None:
        return self.create_for(options, "")

    def create_for(self, options: TransportSocketOptions | None, hostname: str) -> TransportSocket | None:
        context = self.context
        if context is None:
            self._upstream_not_ready.inc()
            return NotReadySocket(True)
        name = self.sni
        if self.auto_host_sni and hostname:
            name = hostname
        wanted: tuple[str, ...] = ()
        alpn = b""
        if options is not None:
            if options.server_name:
                name = options.server_name
            wanted = options.verify_sans
            if options.alpn:
                alpn = alpn_wire([protocol.encode() for protocol in options.alpn])
            elif options.alpn_fallback and not context.alpn:
                alpn = alpn_wire([protocol.encode() for protocol in options.alpn_fallback])
        if self.auto_sni_san and name:
            wanted = (name,)
        return TlsTransportSocket(self, context, name, wanted, alpn)

    def keeps_sessions(self) -> bool:
        return self.max_sessions > 0

    def resume_session(self, transport_socket: TlsTransportSocket) -> None:
        sessions = self._sessions
        for index in range(len(sessions) - 1, -1, -1):
            context, name, session, once = sessions[index]
            if context is transport_socket.context and name == transport_socket.session_name:
                lib.SSL_set_session(transport_socket.ssl, session)
                if once:
                    # RFC 8446 appendix C.4: a ticket that is used twice links the two connections.
                    del sessions[index]
                return

    def remember_session(self, transport_socket: TlsTransportSocket) -> None:
        session = lib.SSL_get1_session(transport_socket.ssl)
        if session == ffi.NULL:
            return
        once = transport_socket.info is not None and transport_socket.info.tls_version() == "TLSv1.3"
        if not once:
            # One that may be used again and again takes the place of the one it renews.
            name = transport_socket.session_name
            context = transport_socket.context
            self._sessions = [each for each in self._sessions if each[0] is not context or each[1] != name]
        kept = (
            transport_socket.context,
            transport_socket.session_name,
            ffi.gc(session, lib.SSL_SESSION_free),
            once,
        )
        self._sessions.append(kept)
        if len(self._sessions) > self.max_sessions:
            del self._sessions[0]

    def default_server_name(self) -> str:
        return self.sni


class DownstreamTlsFactory(TlsFactory):
    """Servers."""

    def __init__(self, view: View, context: FactoryContext) -> None:
        self.require_certificate: bool = view.flag("require_client_certificate")
        # Envoy documents the field and does nothing with it.
        view.accept("require_sni")
        self._full_scan: bool = view.flag("full_scan_certs_on_sni_mismatch")
        self._client_order: bool = view.flag("prefer_client_ciphers")
        self._no_tickets: bool = view.flag("disable_stateless_session_resumption")
        self._no_cache: bool = view.flag("disable_stateful_session_resumption")
        timeout = view.millis("session_timeout")
        # Seconds; the default is BoringSSL's.
        self._session_timeout: int = 7200 if timeout is None else timeout // 1000
        policy = view.enum("ocsp_staple_policy")
        if policy != "LENIENT_STAPLING":
            raise view.error("only LENIENT_STAPLING is supported by this version of outrider", "ocsp_staple_policy")
        super().__init__(view, context, False)

    def build(self, settings: TlsSettings) -> TlsContext:
        if not settings.key_pairs:
            raise self.view.error("No TLS certificates found for server context")
        settings.alpn = [protocol for protocol in settings.alpn if protocol not in NOT_SPOKEN] or settings.alpn
        made = TlsContext(settings, False, self.stats, self.view, self.require_certificate)
        made.serve(self._full_scan, self._client_order, self.view)
        if self._no_tickets:
            lib.SSL_CTX_set_options(made.handle, lib.SSL_OP_NO_TICKET)
        if self._no_cache or self._no_tickets:
            # Without tickets OpenSSL would fall back to a cache for TLS 1.3, which BoringSSL does not.
            lib.SSL_CTX_set_session_cache_mode(made.handle, lib.SSL_SESS_CACHE_OFF)
        lib.SSL_CTX_set_timeout(made.handle, self._session_timeout)
        return made

    def create(self, options: TransportSocketOptions | None) -> TransportSocket | None:
        context = self.context
        if context is None:
            self._downstream_not_ready.inc()
            return NotReadySocket(False)
        return TlsTransportSocket(self, context, "", (), b"")
