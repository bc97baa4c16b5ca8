"""`CommonTlsContext` and what it holds, read and checked; secrets by name where they have come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509

from outrider.config.secrets import TLS_CERTIFICATE, VALIDATION_CONTEXT
from outrider.config.view import View
from outrider.matching.string_matcher import parse_string_matcher
from outrider.network.tls.certificates import (
    KeyPair,
    load_crls,
    load_key_pair,
    load_pkcs12,
    load_trusted,
    parse_hash,
    parse_spki,
    pem_certificates,
)
from outrider.network.tls.data_source import LoadedData, read_data_source
from outrider.network.tls.key_log import KeyLog
from outrider.network.tls.ocsp_staple import OcspStaple
from outrider.network.tls.parameters import TlsParameters
from outrider.network.tls.san_matcher import DNS, EMAIL, IP_ADDRESS, OTHER_NAME, URI, SanMatcher, is_oid
from outrider.network.tls.secrets import TlsSecrets

if TYPE_CHECKING:
    from outrider.network.tls.spiffe import SpiffeValidator

SPIFFE_CONFIG: Final = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"

_SAN_KINDS: Final = {
    "DNS": DNS, "URI": URI, "EMAIL": EMAIL, "IP_ADDRESS": IP_ADDRESS, "OTHER_NAME": OTHER_NAME,
}


class ValidationSettings:
    """`CertificateValidationContext`."""

    __slots__ = (
        "trusted_ca", "trusted", "system_roots", "crl", "crls", "crl_leaf_only", "san_matchers", "hashes",
        "spki_hashes", "allow_expired", "accept_untrusted", "max_depth", "hide_authorities", "spiffe", "stat_name",
    )

    def __init__(self) -> None:
        self.trusted_ca: LoadedData | None = None
        self.trusted: list[x509.Certificate] = []
        self.system_roots: bool = False
        self.crl: LoadedData | None = None
        # Each of its lists, DER.
        self.crls: list[bytes] = []
        self.crl_leaf_only: bool = False
        self.san_matchers: list[SanMatcher] = []
        self.hashes: set[bytes] = set()
        self.spki_hashes: set[bytes] = set()
        self.allow_expired: bool = False
        # A chain that cannot be verified is let through.
        self.accept_untrusted: bool = False
        # Certificates that may stand above the peer's, the root included; None = OpenSSL's limit (100).
        self.max_depth: int | None = None
        # Servers do not tell clients which authorities they trust.
        self.hide_authorities: bool = False
        # The custom validator, which takes the place of trusted_ca.
        self.spiffe: SpiffeValidator | None = None
        # Name of the secret that it came from, else empty.
        self.stat_name: str = ""

    @property
    def verifies_chain(self) -> bool:
        return self.trusted_ca is not None or self.system_roots or self.spiffe is not None

    @property
    def needs_certificate(self) -> bool:
        """Whether a client must show a certificate even where `require_client_certificate` does not say so."""
        checked = bool(self.hashes or self.spki_hashes or self.san_matchers) or self.spiffe is not None
        return checked and not self.accept_untrusted

    @property
    def asks_for_certificate(self) -> bool:
        """Whether servers ask for a certificate at all, and clients look at the server's."""
        return self.verifies_chain or self.accept_untrusted or self.needs_certificate


class TlsSettings:
    """`CommonTlsContext`."""

    __slots__ = ("parameters", "alpn", "key_pairs", "validation", "key_log", "missing")

    def __init__(self, is_client: bool) -> None:
        self.parameters = TlsParameters(is_client)
        self.alpn: list[str] = []
        self.key_pairs: list[KeyPair] = []
        self.validation: ValidationSettings | None = None
        self.key_log: KeyLog | None = None
        # Some secret has not come: no context can be built.
        self.missing: bool = False


def read_tls(view: View | None, secrets: TlsSecrets, is_client: bool) -> TlsSettings:
    """Raises ConfigError."""
    settings = TlsSettings(is_client)
    if view is None:
        return settings
    settings.parameters.read(view.message("tls_params"))
    settings.alpn = _read_alpn(view)
    _read_key_pairs(view, secrets, is_client, settings)
    settings.validation = _read_validation_choice(view, secrets, is_client, settings)
    log = view.message("key_log")
    if log is not None:
        settings.key_log = KeyLog(log)
    return settings


def _read_alpn(view: View) -> list[str]:
    protocols = view.texts("alpn_protocols")
    for protocol in protocols:
        if len(protocol.encode()) > 255:
            raise view.error("Invalid ALPN protocol string", "alpn_protocols")
    return [protocol for protocol in protocols if protocol]


# --- certificates ---


def _read_key_pairs(view: View, secrets: TlsSecrets, is_client: bool, settings: TlsSettings) -> None:
    inline = view.messages("tls_certificates")
    by_name = view.messages("tls_certificate_sds_secret_configs")
    if is_client and len(inline) + len(by_name) > 1:
        raise view.error("Multiple TLS certificates are not supported for client contexts", "tls_certificates")
    settings.key_pairs = [pair for each in inline if (pair := read_certificate(each, is_client)) is not None]
    for reference in by_name:
        secret = secrets.find(reference, TLS_CERTIFICATE, "Unknown static secret")
        if secret is None:
            settings.missing = True
            continue
        pair = read_certificate(secret, is_client)
        if pair is not None:
            pair.stat_name = reference.text("name")
            settings.key_pairs.append(pair)


def read_certificate(view: View, is_client: bool = False) -> KeyPair | None:
    """A `TlsCertificate`. Raises ConfigError; None for an empty one of a client."""
    password = read_data_source(view.message("password"), allow_empty=True)
    secret = password.content if password is not None and password.content else None
    # Files named by the configuration itself are read once; Envoy, too, follows those of secrets only.
    view.accept("watched_directory")
    if view.has("pkcs12"):
        bundle = read_data_source(view.message("pkcs12"))
        assert bundle is not None
        if view.has("certificate_chain") or view.has("private_key"):
            both = "certificate_chain" if view.has("certificate_chain") else "private_key"
            raise view.error(f"Certificate configuration can't have both pkcs12 and {both}", both)
        return load_pkcs12(bundle, secret, view)
    chain = read_data_source(view.message("certificate_chain"), allow_empty=True)
    if chain is None or not chain.content:
        if is_client:
            return None
        raise view.error("Failed to load incomplete certificate from : certificate chain not set", "certificate_chain")
    key_view = view.message("private_key")
    key: LoadedData | None
    if key_view is not None and key_view.which("specifier") == "filename":
        key = _key_from_file(key_view)
    else:
        key = read_data_source(key_view, allow_empty=True)
    if key is None or not key.content:
        raise view.error("Failed to load incomplete private key from path: ", "private_key")
    pair = load_key_pair(chain, key, secret, view)
    staple = read_data_source(view.message("ocsp_staple"))
    if staple is not None:
        pair.staple = OcspStaple(staple.content, pair.leaf, view)
    return pair


def _key_from_file(view: View) -> LoadedData:
    path = view.text("filename")
    try:
        with open(path, "rb") as file:
            return LoadedData(file.read(), path)
    except OSError:
        raise view.error(f"Failed to load incomplete private key from path: {path}", "filename") from None


# --- validation ---


def _read_validation_choice(
    view: View, secrets: TlsSecrets, is_client: bool, tls: TlsSettings
) -> ValidationSettings | None:
    kind = view.which("validation_context_type")
    complaint = "Unknown static certificate validation context"
    if kind == "validation_context":
        given = view.message("validation_context")
        assert given is not None
        return read_validation([given], is_client)
    if kind == "validation_context_sds_secret_config":
        reference = view.message("validation_context_sds_secret_config")
        assert reference is not None
        secret = secrets.find(reference, VALIDATION_CONTEXT, complaint)
        if secret is None:
            tls.missing = True
            return None
        settings = read_validation([secret], is_client)
        settings.stat_name = reference.text("name")
        return settings
    if kind == "combined_validation_context":
        combined = view.message("combined_validation_context")
        assert combined is not None
        views: list[View] = []
        default = combined.message("default_validation_context")
        if default is not None:
            views.append(default)
        reference = combined.message("validation_context_sds_secret_config")
        if reference is not None:
            secret = secrets.find(reference, VALIDATION_CONTEXT, complaint)
            if secret is None:
                # Whether the whole makes sense is seen when the other half is there.
                tls.missing = True
                settings = ValidationSettings()
                for each in views:
                    _read_one_validation(each, settings)
                    _read_custom_validator(each, settings, is_client)
                return None
            views.append(secret)
        settings = read_validation(views, is_client)
        if reference is not None:
            settings.stat_name = reference.text("name")
        return settings
    return None


def read_validation(views: list[View], is_client: bool) -> ValidationSettings:
    """One context, or several merged: later ones win, lists are joined. Raises ConfigError."""
    settings = ValidationSettings()
    for view in views:
        _read_one_validation(view, settings)
    for view in views:
        _read_custom_validator(view, settings, is_client)
    if settings.allow_expired and not settings.verifies_chain:
        raise views[-1].error(
            "Certificate validity period is always ignored without trusted CA", "allow_expired_certificate"
        )
    if settings.crl is not None and settings.trusted_ca is None:
        raise views[-1].error(f"Failed to load CRL from {settings.crl.name} without trusted CA", "crl")
    if settings.crl is not None:
        settings.crls = load_crls(settings.crl, views[-1])
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
        if kind == OTHER_NAME and not is_oid(oid):
            raise matcher.error(f"Failed to create SAN matcher for OTHER_NAME with OID: {oid}", "oid")
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
    if view.has("max_verify_depth"):
        settings.max_depth = view.integer("max_verify_depth")
    settings.hide_authorities = settings.hide_authorities or view.flag("suppress_client_ca_list")


def _read_custom_validator(view: View, settings: ValidationSettings, is_client: bool) -> None:
    extension = view.message("custom_validator_config")
    if extension is None or extension.any_type("typed_config") != SPIFFE_CONFIG:
        if extension is not None:
            raise extension.error(
                f"Failed to find factory for {extension.any_type('typed_config') or extension.text('name')}"
            )
        return
    extension.text("name")
    config = extension.any("typed_config")
    bundles: dict[str, list[x509.Certificate]] = {}
    for domain in config.messages("trust_domains"):
        name = domain.text("name")
        if name in bundles:
            raise domain.error(f"Multiple trust bundles are given for one trust domain for {name}, workload:", "name")
        bundle = read_data_source(domain.message("trust_bundle"))
        try:
            bundles[name] = pem_certificates(bundle.content) if bundle is not None else []
        except ValueError:
            bundles[name] = []
        if not bundles[name]:
            raise domain.error(f"Failed to load trusted CA certificate for {name}", "trust_bundle")
    from outrider.network.tls.spiffe import SpiffeValidator

    settings.spiffe = SpiffeValidator(bundles, settings.san_matchers, is_client, settings.allow_expired)
