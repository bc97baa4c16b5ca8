"""envoy.tls.cert_validator.spiffe: a trust bundle of its own for each SPIFFE trust domain.

Source: Envoy documentation, "SPIFFE Certificate Validator"; the X.509-SVID standard, sections 4 and 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cryptography import x509

from outrider.network.tls.openssl import certificate_from_der, ffi, lib, take_errors, verify_error_text

if TYPE_CHECKING:
    from outrider.network.tls.san_matcher import SanMatcher
    from outrider.network.tls.stats import SslStats

_SCHEME: Final = "spiffe://"
# X509_V_FLAG_NO_CHECK_TIME
_NO_CHECK_TIME: Final = 0x200000


class SpiffeValidator:
    """Bundles by trust domain; a certificate is verified against that of the domain in its URI."""

    __slots__ = ("bundles", "matchers", "_stores")

    def __init__(
        self,
        bundles: dict[str, list[x509.Certificate]],
        matchers: list[SanMatcher],
        is_client: bool,
        allow_expired: bool,
    ) -> None:
        self.bundles = bundles
        # SAN matchers of the validation context, checked on top.
        self.matchers = matchers
        self._stores: dict[str, Any] = {}
        for name, certificates in bundles.items():
            store = ffi.gc(lib.X509_STORE_new(), lib.X509_STORE_free)
            for certificate in certificates:
                handle = certificate_from_der(der_of(certificate))
                if handle is not None:
                    lib.X509_STORE_add_cert(store, handle)
            lib.X509_STORE_set_purpose(store, lib.X509_PURPOSE_SSL_SERVER if is_client else lib.X509_PURPOSE_SSL_CLIENT)
            lib.X509_STORE_set_flags(store, lib.X509_V_FLAG_PARTIAL_CHAIN | (_NO_CHECK_TIME if allow_expired else 0))
            self._stores[name] = store
        take_errors()

    def verify(self, der: bytes, context: Any, stats: SslStats) -> tuple[str, int]:
        """Why a certificate is refused and the X509_V_ERR for it; empty when it is not.

        `context` is OpenSSL's X509_STORE_CTX, whose chain holds the intermediates that the peer sent.
        """
        try:
            certificate = x509.load_der_x509_certificate(der)
            names = uri_names(certificate)
            precheck = is_leaf_svid(certificate)
        except ValueError:
            stats.fail_verify_error.inc()
            return "malformed certificate", lib.X509_V_ERR_CERT_REJECTED
        store = self._store_of(names) if precheck else None
        if store is None:
            stats.fail_verify_error.inc()
            return "no trust bundle store", lib.X509_V_ERR_CERT_REJECTED
        error = _verify_chain(store, context)
        if error != lib.X509_V_OK:
            stats.fail_verify_error.inc()
            return f"cert verification: {verify_error_text(error)}", error
        if self.matchers:
            from outrider.network.tls.san_matcher import san_values

            sans = san_values(certificate)
            if not any(matcher.matches(sans) for matcher in self.matchers):
                stats.fail_verify_san.inc()
                return "SAN match", lib.X509_V_ERR_NO_EXPLICIT_POLICY
        return "", lib.X509_V_OK

    def _store_of(self, names: list[str]) -> Any:
        for name in names:
            if name.startswith(_SCHEME):
                found = self._stores.get(trust_domain(name))
                if found is not None:
                    return found
        return None


def der_of(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def trust_domain(uri: str) -> str:
    """The domain of a `spiffe://domain/path` URI."""
    return uri[len(_SCHEME) :].partition("/")[0]


def uri_names(certificate: x509.Certificate) -> list[str]:
    """URIs of the SAN extension. Raises ValueError for a broken one."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return list(names.get_values_for_type(x509.UniformResourceIdentifier))


def is_leaf_svid(certificate: x509.Certificate) -> bool:
    """Signing certificates must not be used to authenticate (X.509-SVID, section 5.2). Raises ValueError."""
    try:
        if certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
    except x509.ExtensionNotFound:
        pass
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return not usage.key_cert_sign and not usage.crl_sign


def _verify_chain(store: Any, context: Any) -> int:
    """X509_verify_cert of the peer's certificate against another store; the X509_V_ERR."""
    chain = lib.X509_STORE_CTX_get1_chain(context)
    inner = ffi.gc(lib.X509_STORE_CTX_new(), lib.X509_STORE_CTX_free)
    leaf = lib.X509_STORE_CTX_get0_cert(context)
    try:
        if lib.X509_STORE_CTX_init(inner, store, leaf, chain) != 1:
            take_errors()
            return int(lib.X509_V_ERR_OUT_OF_MEM)
        if lib.X509_verify_cert(inner) == 1:
            return int(lib.X509_V_OK)
        error = int(lib.X509_STORE_CTX_get_error(inner))
        take_errors()
        return error if error != lib.X509_V_OK else int(lib.X509_V_ERR_CERT_REJECTED)
    finally:
        for index in range(lib.sk_X509_num(chain)):
            lib.X509_free(lib.sk_X509_value(chain, index))
        lib.sk_X509_free(chain)
