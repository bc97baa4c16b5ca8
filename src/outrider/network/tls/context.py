"""SSL_CTX for settings, and what its connections share. One stands until a secret changes."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from outrider.config.view import View
from outrider.network.tls.callbacks import ALPN, KEY_LOG, SERVER_NAME, STATUS, VERIFY
from outrider.network.tls.certificate_choice import CertificateChoice
from outrider.network.tls.certificates import KeyPair, as_file
from outrider.network.tls.key_log import KeyLog
from outrider.network.tls.openssl import (
    MODE_NO_AUTO_CHAIN,
    OP_PRIORITIZE_CHACHA,
    certificate_der,
    certificate_from_der,
    crl_from_der,
    ffi,
    lib,
    read_private_key,
    take_errors,
)
from outrider.network.tls.settings import TlsSettings, ValidationSettings
from outrider.network.tls.stats import SslStats

_NULL: Final[Any] = ffi.NULL


class TlsContext:
    """What connections are made of; immutable once built."""

    __slots__ = (
        "settings", "is_client", "stats", "handle", "alpn", "alpn_wire", "key_log", "certificates", "key_types",
        "staples",
    )

    def __init__(
        self, settings: TlsSettings, is_client: bool, stats: SslStats, view: View, require_peer: bool = False
    ) -> None:
        """Raises ConfigError."""
        self.settings = settings
        self.is_client = is_client
        self.stats = stats
        self.alpn: list[bytes] = [protocol.encode() for protocol in settings.alpn]
        self.alpn_wire: bytes = alpn_wire(self.alpn)
        self.key_log: KeyLog | None = settings.key_log
        self.certificates: CertificateChoice | None = None
        # OCSP responses by the DER of the certificate they belong to.
        self.staples: dict[bytes, Any] = {}
        method = lib.TLS_client_method() if is_client else lib.TLS_server_method()
        handle = ffi.gc(lib.SSL_CTX_new(method), lib.SSL_CTX_free)
        self.handle: Any = handle
        options = lib.SSL_OP_NO_COMPRESSION | lib.SSL_OP_NO_RENEGOTIATION
        if is_client:
            # BoringSSL talks to servers without RFC 5746, too.
            options |= lib.SSL_OP_LEGACY_SERVER_CONNECT
        lib.SSL_CTX_set_options(handle, options)
        # An idle connection gives its record buffers back. The chain that is sent is the one that was configured; else
        # OpenSSL would look for issuers among the trusted certificates, in each handshake.
        mode = lib.SSL_MODE_RELEASE_BUFFERS | lib.SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | lib.SSL_MODE_AUTO_RETRY
        lib.SSL_CTX_set_mode(handle, mode | MODE_NO_AUTO_CHAIN)
        settings.parameters.apply(handle)
        if settings.key_log is not None:
            lib.SSL_CTX_set_keylog_callback(handle, KEY_LOG)
        self._load_validation(settings.validation, require_peer)
        if is_client:
            lib.SSL_CTX_set_session_cache_mode(handle, lib.SSL_SESS_CACHE_OFF)
            for pair in settings.key_pairs:
                load_pair(handle, pair, view)
            if self.alpn_wire:
                lib.SSL_CTX_set_alpn_protos(handle, self.alpn_wire, len(self.alpn_wire))
        take_errors()

    def serve(self, full_scan: bool, client_order: bool, view: View) -> None:
        """What only servers need: certificates by name, ALPN, stapling, the order of cipher suites."""
        handle = self.handle
        pairs = self.settings.key_pairs
        self.certificates = CertificateChoice(pairs, full_scan, _PairLoader(view))
        self.certificates.load_default(handle)
        if len(pairs) > 1:
            lib.SSL_CTX_set_tlsext_servername_callback(handle, SERVER_NAME)
        if self.alpn:
            lib.SSL_CTX_set_alpn_select_cb(handle, ALPN, _NULL)
        if not client_order:
            lib.SSL_CTX_set_options(handle, lib.SSL_OP_CIPHER_SERVER_PREFERENCE | OP_PRIORITIZE_CHACHA)
        for pair in pairs:
            if pair.staple is not None:
                self.staples[pair.leaf.public_bytes(Encoding.DER)] = pair.staple
        if self.staples:
            lib.SSL_CTX_set_tlsext_status_cb(handle, STATUS)
        name = hashlib.sha256(b"outrider" + b"".join(pair.chain_pem for pair in pairs)).digest()
        lib.SSL_CTX_set_session_id_context(handle, name, len(name))
        take_errors()

    def choose_certificate(self, name: str) -> Any:
        """The SSL_CTX whose certificates serve a name; None keeps the default."""
        return None if self.certificates is None else self.certificates.choose(name)

    def staple_for(self, ssl: Any) -> bytes:
        """The OCSP response for the certificate that was chosen, empty for none or an expired one."""
        stats = self.stats
        stats.ocsp_staple_requests.inc()
        staple = self.staples.get(certificate_der(lib.SSL_get_certificate(ssl)))
        if staple is None or staple.expired():
            stats.ocsp_staple_omitted.inc()
            return b""
        stats.ocsp_staple_responses.inc()
        der: bytes = staple.der
        return der

    def _load_validation(self, validation: ValidationSettings | None, require_peer: bool) -> None:
        if validation is None or not validation.asks_for_certificate:
            return
        handle = self.handle
        store = lib.SSL_CTX_get_cert_store(handle)
        if validation.trusted_ca is not None:
            for certificate in validation.trusted:
                _add_trusted(handle, store, certificate, not self.is_client and not validation.hide_authorities)
        elif validation.system_roots:
            _load_system_roots(handle)
        if validation.crl is not None:
            _load_crls(store, validation)
        # A certificate in the store is trusted, be it a root or not.
        lib.X509_STORE_set_flags(store, lib.X509_V_FLAG_PARTIAL_CHAIN)
        mode = lib.SSL_VERIFY_PEER
        if not self.is_client and (require_peer or validation.needs_certificate):
            mode |= lib.SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        lib.SSL_CTX_set_verify(handle, mode, VERIFY)


class _PairLoader:
    """Gives `CertificateChoice` its SSL_CTXs."""

    __slots__ = ("view",)

    def __init__(self, view: View) -> None:
        self.view = view

    def new(self, pairs: list[KeyPair]) -> Any:
        """One that holds nothing but certificates."""
        handle = ffi.gc(lib.SSL_CTX_new(lib.TLS_server_method()), lib.SSL_CTX_free)
        self.load(handle, pairs)
        return handle

    def load(self, handle: Any, pairs: list[KeyPair]) -> None:
        for pair in pairs:
            load_pair(handle, pair, self.view)


def load_pair(handle: Any, pair: KeyPair, view: View) -> None:
    """A certificate with its chain and key. Raises ConfigError."""
    with as_file(pair.chain_pem) as path:
        loaded = lib.SSL_CTX_use_certificate_chain_file(handle, path.encode()) == 1
    if not loaded:
        take_errors()
        raise view.error(f"Failed to load certificate chain from {pair.name}")
    key = read_private_key(pair.key_pem)
    if key is None or lib.SSL_CTX_use_PrivateKey(handle, key) != 1:
        errors = take_errors()
        raise view.error(f"Failed to load private key for {pair.name}, Cause: {errors[-1] if errors else 'unusable'}")


def alpn_wire(protocols: list[bytes]) -> bytes:
    """The ALPN extension's list (RFC 7301 section 3.1)."""
    return b"".join(bytes([len(protocol)]) + protocol for protocol in protocols)


def _add_trusted(handle: Any, store: Any, certificate: x509.Certificate, announce: bool) -> None:
    trusted = certificate_from_der(certificate.public_bytes(Encoding.DER))
    if trusted is not None:
        lib.X509_STORE_add_cert(store, trusted)
        if announce:
            lib.SSL_CTX_add_client_CA(handle, trusted)
    # One that is there already is not worth a word.
    take_errors()


def _load_system_roots(handle: Any) -> None:
    """Where this system keeps its roots: the standard library knows, the bundled OpenSSL may not."""
    import ssl

    paths = ssl.get_default_verify_paths()
    lib.SSL_CTX_load_verify_locations(
        handle,
        paths.cafile.encode() if paths.cafile else _NULL,
        paths.capath.encode() if paths.capath else _NULL,
    )
    take_errors()


def _load_crls(store: Any, validation: ValidationSettings) -> None:
    for der in validation.crls:
        crl = crl_from_der(der)
        if crl is not None:
            lib.X509_STORE_add_crl(store, crl)
    flags = lib.X509_V_FLAG_CRL_CHECK
    if not validation.crl_leaf_only:
        flags |= lib.X509_V_FLAG_CRL_CHECK_ALL
    lib.X509_STORE_set_flags(store, flags)
    take_errors()
