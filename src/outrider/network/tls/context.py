"""OpenSSL contexts for settings."""

from __future__ import annotations

import ssl
from typing import Final

from outrider.config.view import View
from outrider.network.tls.certificates import KeyPair, as_file
from outrider.network.tls.settings import TlsSettings, ValidationSettings

# X509_V_FLAG_NO_CHECK_TIME, which the ssl module does not name.
_NO_CHECK_TIME: Final = 0x200000


def make_context(
    settings: TlsSettings, is_client: bool, alpn: list[str], key_pairs: list[KeyPair], require_peer: bool, view: View
) -> ssl.SSLContext:
    """A context with these key pairs (at most one for each kind of key). Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if is_client else ssl.PROTOCOL_TLS_SERVER)
    # Names are matched by ourselves: Envoy has no notion of "the" host name.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.minimum_version = settings.minimum
    context.maximum_version = settings.maximum
    if settings.minimum < ssl.TLSVersion.TLSv1_2:
        # OpenSSL's default security level forbids what the user asked for.
        context.set_ciphers(settings.ciphers + ":@SECLEVEL=0")
    else:
        try:
            context.set_ciphers(settings.ciphers)
        except ssl.SSLError:
            raise view.error(f"Failed to initialize cipher suites {settings.ciphers}") from None
    if settings.curve:
        context.set_ecdh_curve(settings.curve)
    if alpn:
        context.set_alpn_protocols(alpn)
    for pair in key_pairs:
        _load_pair(context, pair, view)
    if settings.validation is not None:
        _load_validation(context, settings.validation, is_client, require_peer, view)
    if settings.key_log_path:
        try:
            context.keylog_filename = settings.key_log_path
        except OSError as error:
            raise view.error(f"unable to open key log {settings.key_log_path}: {error.strerror}") from None
    return context


def _load_pair(context: ssl.SSLContext, pair: KeyPair, view: View) -> None:
    with as_file(pair.chain_pem + b"\n" + pair.key_pem) as path:
        try:
            context.load_cert_chain(path)
        except (ssl.SSLError, OSError) as error:
            raise view.error(f"Failed to load certificate chain from {pair.name}: {error}") from None


def _load_validation(
    context: ssl.SSLContext, validation: ValidationSettings, is_client: bool, require_peer: bool, view: View
) -> None:
    if validation.trusted_ca is not None:
        context.load_verify_locations(cadata=_pem_text(validation))
    elif validation.system_roots:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH if is_client else ssl.Purpose.CLIENT_AUTH)
    if validation.crl is not None:
        with as_file(validation.crl.content) as path:
            try:
                context.load_verify_locations(path)
            except (ssl.SSLError, OSError):
                raise view.error(f"Failed to load CRL from {validation.crl.name}") from None
        flags = ssl.VerifyFlags
        leaf_only = validation.crl_leaf_only
        context.verify_flags |= flags.VERIFY_CRL_CHECK_LEAF if leaf_only else flags.VERIFY_CRL_CHECK_CHAIN
    # A certificate in the trust store is trusted, be it a root or not, as BoringSSL does it for Envoy.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    if validation.allow_expired:
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    if validation.verifies_chain and not validation.accept_untrusted:
        context.verify_mode = ssl.CERT_REQUIRED if is_client or require_peer else ssl.CERT_OPTIONAL


def _pem_text(validation: ValidationSettings) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in validation.trusted)
