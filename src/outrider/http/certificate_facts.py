"""What x-forwarded-client-cert tells of a connection's certificates. They are parsed once, however many streams ask."""

from __future__ import annotations

from outrider.data.certificate import certificate_facts
from outrider.data.stream_info import SslInfo
from outrider.http.xfcc import CertificateFacts


class TlsCertificateFacts(CertificateFacts):
    """Reads the DER that the TLS layer has kept."""

    def peer_hash(self, ssl: SslInfo) -> str:
        facts = certificate_facts(ssl.peer_certificate_der())
        return "" if facts is None else facts.fingerprint_sha256()

    def peer_pem(self, ssl: SslInfo) -> str:
        facts = certificate_facts(ssl.peer_certificate_der())
        return "" if facts is None else facts.url_encoded_pem()

    def peer_chain_pem(self, ssl: SslInfo) -> str:
        texts: list[str] = []
        for der in ssl.peer_chain_der():
            facts = certificate_facts(der)
            if facts is not None:
                texts.append(facts.url_encoded_pem())
        return "".join(texts)

    def peer_subject(self, ssl: SslInfo) -> str:
        facts = certificate_facts(ssl.peer_certificate_der())
        return "" if facts is None else facts.subject()

    def peer_issuer(self, ssl: SslInfo) -> str:
        facts = certificate_facts(ssl.peer_certificate_der())
        return "" if facts is None else facts.issuer()

    def peer_uris(self, ssl: SslInfo) -> list[str]:
        facts = certificate_facts(ssl.peer_certificate_der())
        return [] if facts is None else facts.uri_sans()

    def peer_dns_names(self, ssl: SslInfo) -> list[str]:
        facts = certificate_facts(ssl.peer_certificate_der())
        return [] if facts is None else facts.dns_sans()

    def local_uris(self, ssl: SslInfo) -> list[str]:
        facts = certificate_facts(ssl.local_certificate_der())
        return [] if facts is None else facts.uri_sans()
