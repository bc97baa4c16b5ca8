"""OCSP responses that a server hands out with its certificate (RFC 6066 section 8)."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from cryptography.x509 import ocsp

if TYPE_CHECKING:
    from cryptography import x509

    from outrider.config.view import View


class OcspStaple:
    """A response and how long it may be used."""

    __slots__ = ("der", "_until")

    def __init__(self, der: bytes, certificate: x509.Certificate, view: View) -> None:
        """Raises ConfigError for what is no response, or not one for this certificate."""
        self.der = der
        try:
            response = ocsp.load_der_ocsp_response(der)
            good = response.response_status == ocsp.OCSPResponseStatus.SUCCESSFUL
            singles = list(response.responses) if good else []
        except ValueError as error:
            raise view.error(f"Failed to load OCSP response: {error}", "ocsp_staple") from None
        if not good:
            raise view.error("OCSP response was unsuccessful", "ocsp_staple")
        if len(singles) != 1:
            raise view.error("OCSP Response must be for one certificate only", "ocsp_staple")
        if singles[0].serial_number != certificate.serial_number:
            raise view.error("OCSP response does not match its TLS certificate", "ocsp_staple")
        self._until: datetime.datetime | None = singles[0].next_update_utc

    def expired(self) -> bool:
        """A response that does not say until when it holds is used once only, so it counts as expired."""
        return self._until is None or datetime.datetime.now(datetime.UTC) >= self._until
