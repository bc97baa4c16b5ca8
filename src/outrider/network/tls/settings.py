"""`CommonTlsContext` and what it holds, read and checked; static secrets of the bootstrap by name."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

from cryptography import x509

from outrider.config.view import View
from outrider.matching.string_matcher import parse_string_matcher
from outrider.network.tls.certificates import (
    KeyPair,
    load_key_pair,
    load_pkcs12,
    load_trusted,
    parse_hash,
    parse_spki,
)
from outrider.network.tls.ciphers import (
    CURVES,
    DEFAULT_CIPHERS,
    DEFAULT_CURVES,
    VERSIONS,
    openssl_ciphers,
    unknown_curves,
)
from outrider.network.tls.data_source import LoadedData, read_data_source
from outrider.network.tls.san_matcher import DNS, EMAIL, IP_ADDRESS, OTHER_NAME, URI, SanMatcher

_SAN_KINDS: Final = {
    "DNS": DNS, "URI": URI, "EMAIL": EMAIL, "IP_ADDRESS": IP_ADDRESS, "OTHER_NAME": OTHER_NAME,
}


class ValidationSettings:
    """`CertificateValidationContext`."""

    __slots__ = (
        "trusted_ca", "trusted", "system_roots", "crl", "crl_leaf_only", "san_matchers", "hashes", "spki_hashes",
        "allow_expired", "accept_untrusted",
    )

    def __init__(self) -> None:
        self.trusted_ca: LoadedData | None = None
        self.trusted: list[x509.Certificate] = []
        self.system_roots: bool = False
        self.crl: LoadedData | None = None
        self.crl_leaf_only: bool = False
        self.san_matchers: list[SanMatcher] = []
        self.hashes: set[bytes] = set()
        self.spki_hashes: set[bytes] = set()
        self.allow_expired: bool = False
        # A chain that cannot be verified is let through.
        self.accept_untrusted: bool = False

    @property
    def verifies_chain(self) -> bool:
        return self.trusted_ca is not None or self.system_roots


class TlsSettings:
    """`CommonTlsContext`."""

    __slots__ = (
        "minimum", "maximum", "ciphers", "curve", "alpn", "key_pairs", "validation", "key_log_path",
    )

    def __init__(self) -> None:
        self.minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
        self.maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
        self.ciphers: str = openssl_ciphers(DEFAULT_CIPHERS)[0]
        # OpenSSL's name of the only curve; empty = its defaults, X25519 first.
        self.curve: str = ""
        self.alpn: list[str] = []
        self.key_pairs: list[KeyPair] = []
        self.validation: ValidationSettings | None = None
        self.key_log_path: str = ""


def read_tls(view: View | None, secrets: Mapping[str, object], is_client: bool, owner: View) -> TlsSettings:
    """Raises ConfigError. `secrets` are the bootstrap's, as views of `Secret`; `owner` is the context's message."""
    settings = TlsSettings()
    if is_client:
        # As Envoy: clients speak TLS 1.2 unless told otherwise.
        settings.maximum = ssl.TLSVersion.TLSv1_2
    if view is None:
        return settings
    _read_parameters(view.message("tls_params"), settings, is_client)
    settings.alpn = _read_alpn(view)
    settings.key_pairs = _read_key_pairs(view, secrets, is_client)
    settings.validation = _read_validation_choice(view, secrets)
    log = view.message("key_log")
    if log is not None:
        settings.key_log_path = log.text("path")
    return settings


def _read_parameters(view: View | None, settings: TlsSettings, is_client: bool) -> None:
    if view is None:
        return
    lowest = view.enum("tls_minimum_protocol_version")
    highest = view.enum("tls_maximum_protocol_version")
    settings.minimum = VERSIONS.get(lowest, settings.minimum)
    settings.maximum = VERSIONS.get(highest, settings.maximum)
    suites = view.texts("cipher_suites")
    if suites:
        settings.ciphers, unknown = openssl_ciphers(suites)
        if unknown:
            raise view.error(
                f"Failed to initialize cipher suites {':'.join(suites)}. The following ciphers were rejected when "
                f"tried individually: {', '.join(unknown)}",
                "cipher_suites",
            )
    curves = view.texts("ecdh_curves")
    if curves:
        if unknown_curves(curves):
            raise view.error(f"Failed to initialize ECDH curves {':'.join(curves)}", "ecdh_curves")
        if len(curves) == 1 and curves[0] in CURVES:
            settings.curve = CURVES[curves[0]]
        elif curves not in DEFAULT_CURVES:
            raise view.error(
                f"the curves {':'.join(curves)} cannot be set with this Python's ssl module: one NIST curve, or the "
                "default list can",
                "ecdh_curves",
            )


def _read_alpn(view: View) -> list[str]:
    protocols = view.texts("alpn_protocols")
    for protocol in protocols:
        if not protocol or len(protocol.encode()) > 255:
            raise view.error("Invalid ALPN protocol string", "alpn_protocols")
    return protocols


# --- certificates ---


def _read_key_pairs(view: View, secrets: Mapping[str, object], is_client: bool) -> list[KeyPair]:
    inline = view.messages("tls_certificates")
    by_name = view.messages("tls_certificate_sds_secret_configs")
    if is_client and len(inline) + len(by_name) > 1:
        raise view.error("Multiple TLS certificates are not supported for client contexts", "tls_certificates")
    pairs = [pair for each in inline if (pair := read_certificate(each, is_client)) is not None]
    for reference in by_name:
        secret = static_secret(reference, secrets, "tls_certificate", "Unknown static secret")
        if secret is not None:
            pair = read_certificate(secret, is_client)
            if pair is not None:
                pairs.append(pair)
    return pairs


def static_secret(reference: View, secrets: Mapping[str, object], kind: str, complaint: str) -> View | None:
    """A secret of the bootstrap. One with `sds_config` would have to be fetched: that field stays unread."""
    name = reference.text("name")
    if reference.has("sds_config"):
        return None
    secret = secrets.get(name)
    if not isinstance(secret, View) or secret.which("type") != kind:
        raise reference.error(f"{complaint}: {name}", "name")
    return secret.message(kind)


def read_certificate(view: View, is_client: bool = False) -> KeyPair | None:
    """A `TlsCertificate`. Raises ConfigError; None for an empty one of a client."""
    password = read_data_source(view.message("password"), allow_empty=True)
    secret = password.content if password is not None and password.content else None
    # Certificates that come from files are read once, with the configuration; Envoy needs SDS to watch them, too.
    view.accept("watched_directory")
    if view.has("pkcs12"):
        bundle = read_data_source(view.message("pkcs12"))
        assert bundle is not None
        if view.has("certificate_chain") or view.has("private_key"):
            raise view.error("Certificate configuration can't have both pkcs12 and certificate_chain or private_key")
        return load_pkcs12(bundle, secret, view)
    chain = read_data_source(view.message("certificate_chain"), allow_empty=True)
    if chain is None or not chain.content:
        if is_client:
            return None
        raise view.error("Server TlsCertificates must have a certificate specified")
    key_view = view.message("private_key")
    key: LoadedData | None
    if key_view is not None and key_view.which("specifier") == "filename":
        key = _key_from_file(key_view)
    else:
        key = read_data_source(key_view, allow_empty=True)
    if key is None or not key.content:
        raise view.error("Failed to load incomplete private key from path: ", "private_key")
    return load_key_pair(chain, key, secret, view)


def _key_from_file(view: View) -> LoadedData:
    path = view.text("filename")
    try:
        with open(path, "rb") as file:
            return LoadedData(file.read(), path)
    except OSError:
        raise view.error(f"Failed to load incomplete private key from path: {path}", "filename") from None


# --- validation ---


def _read_validation_choice(view: View, secrets: Mapping[str, object]) -> ValidationSettings | None:
    kind = view.which("validation_context_type")
    complaint = "Unknown static certificate validation context"
    if kind == "validation_context":
        given = view.message("validation_context")
        assert given is not None
        return read_validation([given])
    if kind == "validation_context_sds_secret_config":
        reference = view.message("validation_context_sds_secret_config")
        assert reference is not None
        secret = static_secret(reference, secrets, "validation_context", complaint)
        return None if secret is None else read_validation([secret])
    if kind == "combined_validation_context":
        combined = view.message("combined_validation_context")
        assert combined is not None
        views: list[View] = []
        default = combined.message("default_validation_context")
        if default is not None:
            views.append(default)
        reference = combined.message("validation_context_sds_secret_config")
        if reference is not None:
            secret = static_secret(reference, secrets, "validation_context", complaint)
            if secret is not None:
                views.append(secret)
        return read_validation(views)
    return None


def read_validation(views: list[View]) -> ValidationSettings:
    """One context, or several merged: later ones win, lists are joined. Raises ConfigError."""
    settings = ValidationSettings()
    for view in views:
        _read_one_validation(view, settings)
    if settings.crl is not None and settings.trusted_ca is None:
        raise views[-1].error(f"Failed to load CRL from {settings.crl.name} without trusted CA", "crl")
    if settings.san_matchers and not settings.verifies_chain:
        raise views[-1].error(
            "SAN-based verification of peer certificates without trusted CA is insecure and not allowed"
        )
    return settings


def _read_one_validation(view: View, settings: ValidationSettings) -> None:
    # See `read_certificate`.
    view.accept("watched_directory")
    trusted = read_data_source(view.message("trusted_ca"))
    if trusted is not None:
        settings.trusted_ca = trusted
        settings.trusted = load_trusted(trusted, view)
    if view.message("system_root_certs") is not None:
        settings.system_roots = True
    crl = read_data_source(view.message("crl"))
    if crl is not None:
        settings.crl = crl
    settings.crl_leaf_only = settings.crl_leaf_only or view.flag("only_verify_leaf_cert_crl")
    for matcher in view.messages("match_typed_subject_alt_names"):
        kind = _SAN_KINDS.get(matcher.enum("san_type"))
        inner = matcher.message("matcher")
        if kind is None or inner is None:
            raise matcher.error("Subject Alt Name matcher needs a type and a matcher")
        oid = matcher.text("oid")
        if kind == OTHER_NAME and not oid:
            raise matcher.error("Must specify OID if SAN type is OTHER_NAME", "oid")
        settings.san_matchers.append(SanMatcher(kind, parse_string_matcher(inner), oid))
    for older in view.messages("match_subject_alt_names"):
        # Deprecated: any of these kinds.
        parsed = parse_string_matcher(older)
        settings.san_matchers.extend(SanMatcher(kind, parsed) for kind in (DNS, URI, EMAIL, IP_ADDRESS))
    settings.hashes.update(parse_hash(text, view) for text in view.texts("verify_certificate_hash"))
    settings.spki_hashes.update(parse_spki(text, view) for text in view.texts("verify_certificate_spki"))
    settings.allow_expired = settings.allow_expired or view.flag("allow_expired_certificate")
    if view.enum("trust_chain_verification") == "ACCEPT_UNTRUSTED":
        settings.accept_untrusted = True
