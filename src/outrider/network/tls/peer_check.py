"""Judging the peer's certificate during the handshake, certificate by certificate, as Envoy's default validator does.

OpenSSL builds and checks the chain; what it finds comes to `on_certificate`, the root first. A refusal makes OpenSSL
send the fitting alert. Counters and texts are those of Envoy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.network.tls.openssl import certificate_der, lib, verify_error_text
from outrider.network.tls.validation import check_peer

if TYPE_CHECKING:
    from outrider.network.tls.settings import ValidationSettings
    from outrider.network.tls.stats import SslStats

_EXPIRED: Final = (lib.X509_V_ERR_CERT_NOT_YET_VALID, lib.X509_V_ERR_CERT_HAS_EXPIRED)
# OpenSSL turns errors into alerts: this one into bad_certificate, and one without a line of its own, as is the case for
# the policy errors, into certificate_unknown.
_PIN_MISMATCH: Final = lib.X509_V_ERR_CERT_REJECTED
_NAME_MISMATCH: Final = lib.X509_V_ERR_NO_EXPLICIT_POLICY


class PeerCheck:
    """One connection's verification."""

    __slots__ = ("validation", "wanted", "stats", "chain_failed", "leaf_checked", "validated", "details", "peer")

    def __init__(self, validation: ValidationSettings | None, wanted: tuple[str, ...], stats: SslStats) -> None:
        self.validation = validation
        # Names of which one must be in the certificate; they replace the configured ones.
        self.wanted = wanted
        self.stats = stats
        self.chain_failed: bool = False
        # The peer's own certificate has been looked at.
        self.leaf_checked: bool = False
        # Something was configured to check it, and it passed.
        self.validated: bool = False
        # Why it was refused.
        self.details: str = ""
        # A refused certificate, DER: OpenSSL forgets it.
        self.peer: bytes = b""

    def on_certificate(self, ok: bool, store: Any) -> bool:
        """OpenSSL's verify callback: whether to go on."""
        validation = self.validation
        if validation is None:
            return True
        depth = lib.X509_STORE_CTX_get_error_depth(store)
        if ok and validation.max_depth is not None and depth > validation.max_depth:
            # Envoy's documentation counts the root; OpenSSL's own limit does not.
            lib.X509_STORE_CTX_set_error(store, lib.X509_V_ERR_CERT_CHAIN_TOO_LONG)
            ok = False
        if not ok and not self._tolerated(validation, store):
            if not self.chain_failed:
                self.chain_failed = True
                self.stats.fail_verify_error.inc()
                text = verify_error_text(lib.X509_STORE_CTX_get_error(store))
                self.details = f"X509_verify_cert: certificate verification error at depth {depth}: {text}"
            if not validation.accept_untrusted:
                self.peer = certificate_der(lib.X509_STORE_CTX_get0_cert(store))
                return False
        if depth > 0 or self.leaf_checked:
            return True
        if self._check_leaf(validation, store) or validation.accept_untrusted:
            return True
        self.peer = certificate_der(lib.X509_STORE_CTX_get0_cert(store))
        return False

    def _tolerated(self, validation: ValidationSettings, store: Any) -> bool:
        if not validation.verifies_chain or validation.spiffe is not None:
            # There is nothing to verify against, or the validator does it itself.
            return True
        return validation.allow_expired and lib.X509_STORE_CTX_get_error(store) in _EXPIRED

    def _check_leaf(self, validation: ValidationSettings, store: Any) -> bool:
        self.leaf_checked = True
        if self.chain_failed:
            return False
        certificate = lib.X509_STORE_CTX_get0_cert(store)
        der = certificate_der(certificate)
        if validation.spiffe is not None:
            text, error = validation.spiffe.verify(der, store, self.stats)
            if text:
                self.details = text
                lib.X509_STORE_CTX_set_error(store, error)
                return False
            self.validated = True
            return True
        before = self.stats.fail_verify_cert_hash.value
        self.details = check_peer(der, validation, self.wanted, self.stats)
        if self.details:
            pinned = self.stats.fail_verify_cert_hash.value != before
            lib.X509_STORE_CTX_set_error(store, _PIN_MISMATCH if pinned else _NAME_MISMATCH)
            return False
        self.validated = validation.verifies_chain or bool(validation.hashes or validation.spki_hashes)
        return True
