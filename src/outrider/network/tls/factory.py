"""`UpstreamTlsContext` and `DownstreamTlsContext` as transport socket factories."""

from __future__ import annotations

import hashlib
import ssl
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.serialization import Encoding
from mypy_extensions import mypyc_attr

from outrider.config.view import View
from outrider.network.tls.certificates import KeyPair
from outrider.network.tls.context import make_context
from outrider.network.tls.san_matcher import dns_name_matches
from outrider.network.tls.settings import TlsSettings, read_tls
from outrider.network.tls.socket import TlsTransportSocket
from outrider.network.tls.stats import SslStats
from outrider.network.transport_socket import (
    TransportSocket,
    TransportSocketFactory,
    TransportSocketOptions,
)
from outrider.stats.store import Scope

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext

# Protocols without a codec yet: not offered to a client who could also speak another of the list.
NOT_SPOKEN: Final = ("h2", "h3")
_DEFAULT_SESSION_KEYS: Final = 1
_MAX_CONTEXTS: Final = 64


@mypyc_attr(allow_interpreted_subclasses=True)
class TlsFactory(TransportSocketFactory):
    """What both sides share."""

    def __init__(self, settings: TlsSettings, scope: Scope, is_client: bool) -> None:
        self.implements_secure_transport = True
        self.settings = settings
        self.is_client = is_client
        self.stats = SslStats(scope)
        self.default_local_der: bytes = b""
        side = "client" if is_client else "server"
        for name in (
            "downstream_context_secrets_not_ready", "ssl_context_update_by_sds", "upstream_context_secrets_not_ready",
        ):
            scope.counter(f"{side}_ssl_socket_factory.{name}")
        validation = settings.validation
        if validation is not None:
            expiry = [int(certificate.not_valid_after_utc.timestamp()) for certificate in validation.trusted]
            if expiry:
                self.stats.show_expiry(_stat_name("unnamed_ca_cert"), min(expiry))
            else:
                self.stats.show_expiry("unnamed_ca_cert", None)
        for pair in settings.key_pairs:
            self.stats.show_expiry(_stat_name("unnamed_cert"), int(pair.leaf.not_valid_after_utc.timestamp()))
        if settings.key_pairs:
            self.default_local_der = settings.key_pairs[0].leaf.public_bytes(Encoding.DER)

    def prepare(self, transport_socket: TlsTransportSocket) -> None:
        """A connection begins."""

    def remember_session(self, transport_socket: TlsTransportSocket) -> None:
        """A connection ends; its session may be resumed."""

    def accepts_no_certificate(self) -> bool:
        """Whether a peer without a certificate is fine."""
        return True

    def validates(self) -> bool:
        validation = self.settings.validation
        if validation is None:
            return False
        return validation.verifies_chain or bool(validation.hashes or validation.spki_hashes)

    def supports_alpn(self) -> bool:
        return True


def _stat_name(kind: str) -> str:
    """Envoy names what has no name of its own after the hash of that empty name."""
    return f"{kind}_{hashlib.sha256(b'').hexdigest()[:8]}"


class UpstreamTlsFactory(TlsFactory):
    """Clients."""

    def __init__(self, view: View, context: FactoryContext) -> None:
        settings = read_tls(view.message("common_tls_context"), context.secrets, True, view)
        super().__init__(settings, context.scope, True)
        self.view = view
        self.sni: str = view.text("sni")
        if "\0" in self.sni:
            raise view.error("SNI names containing NULL-byte are not allowed", "sni")
        self.auto_host_sni: bool = view.flag("auto_host_sni")
        self.auto_sni_san: bool = view.flag("auto_sni_san_validation")
        if self.auto_sni_san and (settings.validation is None or not settings.validation.verifies_chain):
            raise view.error(
                "'auto_sni_san_validation' was configured without a validation context", "auto_sni_san_validation"
            )
        # Renegotiation is refused by this side always, which `false`, the default, asks for.
        if view.has("enforce_rsa_key_usage"):
            # OpenSSL checks key usage where RFC 5280 asks for it, whatever this says.
            view.flag("enforce_rsa_key_usage")
        self.max_sessions: int = view.integer("max_session_keys", _DEFAULT_SESSION_KEYS)
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}
        # Newest last, with the context that they belong to.
        self._sessions: list[tuple[ssl.SSLContext, str, ssl.SSLSession]] = []
        self._context_for(tuple(settings.alpn))

    def _context_for(self, alpn: tuple[str, ...]) -> ssl.SSLContext:
        """The `ssl` module fixes ALPN per context, so there is one context per list."""
        found = self._contexts.get(alpn)
        if found is None:
            if len(self._contexts) >= _MAX_CONTEXTS:
                self._contexts.pop(next(iter(self._contexts)))
            found = make_context(self.settings, True, list(alpn), self.settings.key_pairs, True, self.view)
            self._contexts[alpn] = found
        return found

    def create(self, options: TransportSocketOptions | None) -> TransportSocket | None:
        return self.create_for(options, "")

    def create_for(self, options: TransportSocketOptions | None, hostname: str) -> TransportSocket | None:
        name = self.sni
        if self.auto_host_sni and hostname:
            name = hostname
        wanted: tuple[str, ...] = ()
        alpn = tuple(self.settings.alpn)
        if options is not None:
            if options.server_name:
                name = options.server_name
            wanted = options.verify_sans
            alpn = options.alpn or alpn or options.alpn_fallback
        if self.auto_sni_san and name:
            wanted = (name,)
        return TlsTransportSocket(self, self._context_for(alpn), name, wanted)

    def prepare(self, transport_socket: TlsTransportSocket) -> None:
        engine = transport_socket.engine
        for context, name, session in reversed(self._sessions):
            if context is engine.context and name == transport_socket.server_name:
                engine.session = session
                return

    def remember_session(self, transport_socket: TlsTransportSocket) -> None:
        if self.max_sessions <= 0 or transport_socket.info is None:
            return
        engine = transport_socket.engine
        session = engine.session
        if session is None or not (session.has_ticket or session.id):
            return
        self._sessions.append((engine.context, transport_socket.server_name, session))
        if len(self._sessions) > self.max_sessions:
            del self._sessions[0]

    def default_server_name(self) -> str:
        return self.sni


class DownstreamTlsFactory(TlsFactory):
    """Servers: several certificates, chosen by the name that the client asks for."""

    def __init__(self, view: View, context: FactoryContext) -> None:
        settings = read_tls(view.message("common_tls_context"), context.secrets, False, view)
        super().__init__(settings, context.scope, False)
        if not settings.key_pairs:
            raise view.error("No TLS certificates found for server context")
        self.require_certificate: bool = view.flag("require_client_certificate")
        # Envoy documents the field and does nothing with it.
        view.flag("require_sni")
        # All certificates are looked through in any case.
        view.flag("full_scan_certs_on_sni_mismatch")
        self._no_tickets: bool = view.flag("disable_stateless_session_resumption")
        if view.enum("ocsp_staple_policy") != "LENIENT_STAPLING":
            raise view.error("only LENIENT_STAPLING is supported by this version of outrider", "ocsp_staple_policy")
        self._client_order: bool = view.flag("prefer_client_ciphers")
        self._check_validation(view)
        alpn = [protocol for protocol in settings.alpn if protocol not in NOT_SPOKEN] or settings.alpn
        # Certificates of different keys for the same names share a context: OpenSSL chooses by what the client can do.
        groups: list[list[KeyPair]] = []
        for pair in settings.key_pairs:
            for group in groups:
                same_kind = any(other.is_ecdsa == pair.is_ecdsa for other in group)
                if not same_kind and set(group[0].dns_names) == set(pair.dns_names):
                    group.append(pair)
                    break
            else:
                groups.append([pair])
        self._contexts: list[tuple[list[str], ssl.SSLContext, bytes]] = []
        for group in groups:
            made = make_context(settings, False, alpn, group, self.require_certificate, view)
            if self._no_tickets:
                made.options |= ssl.OP_NO_TICKET
            if not self._client_order:
                made.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
            else:
                made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
            made.sni_callback = self._on_server_name
            self._contexts.append((group[0].dns_names, made, group[0].leaf.public_bytes(Encoding.DER)))
        self.context: ssl.SSLContext = self._contexts[0][1]

    def _check_validation(self, view: View) -> None:
        """What the `ssl` module cannot do: ask a client for a certificate without verifying its chain."""
        validation = self.settings.validation
        if validation is not None and validation.verifies_chain and not validation.accept_untrusted:
            return
        pins = validation is not None and bool(validation.hashes or validation.spki_hashes)
        untrusted = validation is not None and validation.accept_untrusted
        if self.require_certificate or pins or untrusted:
            raise view.error(
                "client certificates can only be asked for with a trusted_ca and VERIFY_TRUST_CHAIN in this version of "
                "outrider",
                "require_client_certificate" if self.require_certificate else "common_tls_context",
            )

    def create(self, options: TransportSocketOptions | None) -> TransportSocket | None:
        return TlsTransportSocket(self, self.context, "", ())

    def accepts_no_certificate(self) -> bool:
        return not self.require_certificate

    def prepare(self, transport_socket: TlsTransportSocket) -> None:
        # OpenSSL hands the callback its own object; the connection is found by it.
        setattr(transport_socket.engine, "outrider_socket", transport_socket)  # noqa: B010

    def remember_session(self, transport_socket: TlsTransportSocket) -> None:
        setattr(transport_socket.engine, "outrider_socket", None)  # noqa: B010

    def _on_server_name(self, engine: Any, name: str | None, context: ssl.SSLContext) -> int | None:
        transport_socket = getattr(engine, "outrider_socket", None)
        if name is None:
            return None
        if isinstance(transport_socket, TlsTransportSocket):
            transport_socket.server_name = name
        chosen = self._choose(name.lower())
        if chosen is not None:
            engine.context = chosen[1]
            if isinstance(transport_socket, TlsTransportSocket):
                transport_socket.local_der = chosen[2]
        return None

    def _choose(self, name: str) -> tuple[list[str], ssl.SSLContext, bytes] | None:
        """An exact name first, then a wildcard; None keeps the first certificate."""
        if len(self._contexts) == 1:
            return None
        for entry in self._contexts:
            if name in entry[0]:
                return entry
        for entry in self._contexts:
            if any(dns_name_matches(name, pattern) for pattern in entry[0]):
                return entry
        return None
