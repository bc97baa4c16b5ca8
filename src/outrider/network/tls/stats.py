"""`ssl.*` metrics of a listener or cluster."""

from __future__ import annotations

from typing import Final

from outrider.stats.metrics import Counter
from outrider.stats.store import Scope

_NEVER: Final = 9223372036854775807


class SslStats:
    """Counters that exist from the start, and those made when a version, cipher, curve or algorithm is first seen."""

    __slots__ = (
        "scope", "connection_error", "fail_verify_cert_hash", "fail_verify_error", "fail_verify_no_cert",
        "fail_verify_san", "handshake", "no_certificate", "session_reused", "ocsp_staple_omitted",
        "ocsp_staple_requests", "ocsp_staple_responses", "_seen",
    )

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.connection_error: Counter = scope.counter("ssl.connection_error")
        self.fail_verify_cert_hash: Counter = scope.counter("ssl.fail_verify_cert_hash")
        self.fail_verify_error: Counter = scope.counter("ssl.fail_verify_error")
        self.fail_verify_no_cert: Counter = scope.counter("ssl.fail_verify_no_cert")
        self.fail_verify_san: Counter = scope.counter("ssl.fail_verify_san")
        self.handshake: Counter = scope.counter("ssl.handshake")
        self.no_certificate: Counter = scope.counter("ssl.no_certificate")
        self.session_reused: Counter = scope.counter("ssl.session_reused")
        self.ocsp_staple_omitted: Counter = scope.counter("ssl.ocsp_staple_omitted")
        self.ocsp_staple_requests: Counter = scope.counter("ssl.ocsp_staple_requests")
        self.ocsp_staple_responses: Counter = scope.counter("ssl.ocsp_staple_responses")
        scope.counter("ssl.ocsp_staple_failed")
        self._seen: dict[tuple[str, str], Counter] = {}

    def count(self, family: str, name: str) -> None:
        """One of `ssl.<family>.<name>`: ciphers, versions, curves, sigalgs."""
        key = (family, name)
        counter = self._seen.get(key)
        if counter is None:
            counter = self.scope.counter(f"ssl.{family}.{name}")
            self._seen[key] = counter
        counter.value += 1

    def show_expiry(self, name: str, seconds: int | None) -> None:
        """`ssl.certificate.<name>.expiration_unix_time_seconds`; None: there is no certificate."""
        gauge = self.scope.gauge(f"ssl.certificate.{name}.expiration_unix_time_seconds", False)
        gauge.set(_NEVER if seconds is None else seconds)
