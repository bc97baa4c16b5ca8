"""Inputs of matcher trees that read the client's certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.matching.data import DataInput, MatchingData
from outrider.matching.tree_loader import NETWORK_INPUTS

if TYPE_CHECKING:
    from cryptography import x509

    from outrider.config.view import View

_SSL = "envoy.extensions.matching.common_inputs.ssl.v3."


class CertificateInput(DataInput):
    """Subject, or alternative names of one kind joined by commas; nothing without a client certificate."""

    def __init__(self, what: str) -> None:
        # subject, uri_san or dns_san
        self.what = what

    def get(self, data: MatchingData) -> object | None:
        ssl = None if data.connection is None else data.connection.ssl
        der = b"" if ssl is None else ssl.peer_certificate_der()
        if not der:
            return None
        from cryptography import x509

        certificate = x509.load_der_x509_certificate(der)
        if self.what == "subject":
            return certificate.subject.rfc4514_string().encode() or None
        return ",".join(_names(certificate, self.what)).encode() or None

    def describe(self) -> str:
        return f"client certificate {self.what}"


def _names(certificate: x509.Certificate, what: str) -> list[str]:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    if what == "uri_san":
        return list(names.get_values_for_type(x509.UniformResourceIdentifier))
    return list(names.get_values_for_type(x509.DNSName))


@NETWORK_INPUTS.register("envoy.matching.inputs.uri_san", _SSL + "UriSanInput")
def create_uri_san(view: View, context: Any) -> DataInput:
    return CertificateInput("uri_san")


@NETWORK_INPUTS.register("envoy.matching.inputs.dns_san", _SSL + "DnsSanInput")
def create_dns_san(view: View, context: Any) -> DataInput:
    return CertificateInput("dns_san")


@NETWORK_INPUTS.register("envoy.matching.inputs.subject", _SSL + "SubjectInput")
def create_subject(view: View, context: Any) -> DataInput:
    return CertificateInput("subject")
