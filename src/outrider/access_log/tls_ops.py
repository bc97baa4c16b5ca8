"""Operators that print TLS facts and certificates of either side. Certificates are parsed once per connection."""

from __future__ import annotations

from typing import Final

from outrider.access_log.context import FormatContext
from outrider.access_log.operation import FormatOp, StringOp
from outrider.access_log.syntax import PARAMS_OPTIONAL, CommandTable
from outrider.access_log.time_format import DEFAULT_PATTERN, TimePattern
from outrider.data.certificate import CertificateFacts, certificate_facts
from outrider.data.stream_info import SslInfo

# Facts of the session.
VERSION: Final = 0
CIPHER: Final = 1
GROUP: Final = 2
SESSION_ID: Final = 3
SERVER_NAME: Final = 4

# Facts of a certificate.
SUBJECT: Final = 0
ISSUER: Final = 1
SERIAL: Final = 2
SHA256: Final = 3
SHA1: Final = 4
URI_SAN: Final = 5
DNS_SAN: Final = 6
IP_SAN: Final = 7
EMAIL_SAN: Final = 8
OTHER_SAN: Final = 9
PEM: Final = 10

def ssl_of(context: FormatContext, upstream: bool) -> SslInfo | None:
    """TLS facts of the connection on that side."""
    if not upstream:
        return context.stream_info.connection.ssl
    info = context.stream_info.upstream
    return None if info is None else info.ssl


def fact_text(facts: CertificateFacts, kind: int) -> str:
    """One fact of a certificate; several names are joined by commas."""
    if kind == SUBJECT:
        return facts.subject()
    if kind == ISSUER:
        return facts.issuer()
    if kind == SERIAL:
        return facts.serial()
    if kind == SHA256:
        return facts.fingerprint_sha256()
    if kind == SHA1:
        return facts.fingerprint_sha1()
    if kind == URI_SAN:
        return ",".join(facts.uri_sans())
    if kind == DNS_SAN:
        return ",".join(facts.dns_sans())
    if kind == IP_SAN:
        return ",".join(facts.ip_sans())
    if kind == EMAIL_SAN:
        return ",".join(facts.email_sans())
    if kind == OTHER_SAN:
        return ",".join(facts.other_name_sans())
    return facts.url_encoded_pem()


class SessionOp(StringOp):
    """Version, cipher, group, session id, server name."""

    def __init__(self, kind: int, upstream: bool) -> None:
        self.kind = kind
        self.upstream = upstream

    def string(self, context: FormatContext) -> str:
        ssl = ssl_of(context, self.upstream)
        if ssl is None:
            return ""
        kind = self.kind
        if kind == VERSION:
            return ssl.tls_version()
        if kind == CIPHER:
            return ssl.cipher()
        if kind == GROUP:
            return ssl.group()
        return ssl.session_id() if kind == SESSION_ID else ssl.sni()


class CertificateOp(StringOp):
    """A fact of the peer's certificate or of our own."""

    def __init__(self, kind: int, upstream: bool, local: bool) -> None:
        self.kind = kind
        self.upstream = upstream
        self.local = local

    def string(self, context: FormatContext) -> str:
        ssl = ssl_of(context, self.upstream)
        if ssl is None:
            return ""
        facts = certificate_facts(ssl.local_certificate_der() if self.local else ssl.peer_certificate_der())
        return "" if facts is None else fact_text(facts, self.kind)


class ChainOp(StringOp):
    """A fact of every certificate that the downstream peer sent."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def string(self, context: FormatContext) -> str:
        ssl = ssl_of(context, False)
        if ssl is None:
            return ""
        texts: list[str] = []
        for der in ssl.peer_chain_der():
            facts = certificate_facts(der)
            if facts is not None:
                texts.append(fact_text(facts, self.kind))
        return ",".join(texts)


class IssuerOp(StringOp):
    """A fact of the certificate that issued the downstream peer's: the second one of the chain."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def string(self, context: FormatContext) -> str:
        ssl = ssl_of(context, False)
        if ssl is None:
            return ""
        chain = ssl.peer_chain_der()
        facts = certificate_facts(chain[1]) if len(chain) > 1 else None
        return "" if facts is None else fact_text(facts, self.kind)


class ValidityOp(FormatOp):
    """Begin or end of the validity of the peer's certificate."""

    def __init__(self, pattern: TimePattern, upstream: bool, end: bool) -> None:
        self.pattern = pattern
        self.upstream = upstream
        self.end = end

    def text(self, context: FormatContext) -> bytes | None:
        ssl = ssl_of(context, self.upstream)
        if ssl is None:
            return None
        facts = certificate_facts(ssl.peer_certificate_der())
        if facts is None:
            return None
        return self.pattern.render(facts.not_after_ns() if self.end else facts.not_before_ns())


def _downstream_start(argument: str, length: int | None) -> FormatOp:
    return ValidityOp(TimePattern(argument or DEFAULT_PATTERN), False, False)


def _downstream_end(argument: str, length: int | None) -> FormatOp:
    return ValidityOp(TimePattern(argument or DEFAULT_PATTERN), False, True)


def _upstream_start(argument: str, length: int | None) -> FormatOp:
    return ValidityOp(TimePattern(argument or DEFAULT_PATTERN), True, False)


def _upstream_end(argument: str, length: int | None) -> FormatOp:
    return ValidityOp(TimePattern(argument or DEFAULT_PATTERN), True, True)


_SANS: Final[dict[str, int]] = {"URI": URI_SAN, "DNS": DNS_SAN, "IP": IP_SAN}

PLAIN: Final[dict[str, FormatOp]] = {
    "DOWNSTREAM_TLS_VERSION": SessionOp(VERSION, False),
    "DOWNSTREAM_TLS_CIPHER": SessionOp(CIPHER, False),
    "DOWNSTREAM_TLS_GROUP": SessionOp(GROUP, False),
    "DOWNSTREAM_TLS_SESSION_ID": SessionOp(SESSION_ID, False),
    "UPSTREAM_TLS_VERSION": SessionOp(VERSION, True),
    "UPSTREAM_TLS_CIPHER": SessionOp(CIPHER, True),
    "UPSTREAM_TLS_GROUP": SessionOp(GROUP, True),
    "UPSTREAM_TLS_SESSION_ID": SessionOp(SESSION_ID, True),
    "UPSTREAM_SERVER_NAME": SessionOp(SERVER_NAME, True),
    **{f"DOWNSTREAM_PEER_{name}_SAN": CertificateOp(kind, False, False) for name, kind in _SANS.items()},
    **{f"DOWNSTREAM_LOCAL_{name}_SAN": CertificateOp(kind, False, True) for name, kind in _SANS.items()},
    **{f"UPSTREAM_PEER_{name}_SAN": CertificateOp(kind, True, False) for name, kind in _SANS.items()},
    **{f"UPSTREAM_LOCAL_{name}_SAN": CertificateOp(kind, True, True) for name, kind in _SANS.items()},
    "DOWNSTREAM_PEER_EMAIL_SAN": CertificateOp(EMAIL_SAN, False, False),
    "DOWNSTREAM_LOCAL_EMAIL_SAN": CertificateOp(EMAIL_SAN, False, True),
    "DOWNSTREAM_PEER_OTHERNAME_SAN": CertificateOp(OTHER_SAN, False, False),
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN": CertificateOp(OTHER_SAN, False, True),
    "DOWNSTREAM_PEER_SUBJECT": CertificateOp(SUBJECT, False, False),
    "DOWNSTREAM_LOCAL_SUBJECT": CertificateOp(SUBJECT, False, True),
    "UPSTREAM_PEER_SUBJECT": CertificateOp(SUBJECT, True, False),
    "DOWNSTREAM_PEER_ISSUER": CertificateOp(ISSUER, False, False),
    "UPSTREAM_PEER_ISSUER": CertificateOp(ISSUER, True, False),
    "DOWNSTREAM_PEER_SERIAL": CertificateOp(SERIAL, False, False),
    "DOWNSTREAM_PEER_FINGERPRINT_256": CertificateOp(SHA256, False, False),
    "DOWNSTREAM_PEER_FINGERPRINT_1": CertificateOp(SHA1, False, False),
    "DOWNSTREAM_PEER_CERT": CertificateOp(PEM, False, False),
    "UPSTREAM_PEER_CERT": CertificateOp(PEM, True, False),
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256": ChainOp(SHA256),
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1": ChainOp(SHA1),
    "DOWNSTREAM_PEER_CHAIN_SERIALS": ChainOp(SERIAL),
    "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256": IssuerOp(SHA256),
    "DOWNSTREAM_PEER_ISSUER_SERIAL": IssuerOp(SERIAL),
}

COMMANDS: Final[CommandTable] = {
    "DOWNSTREAM_PEER_CERT_V_START": (PARAMS_OPTIONAL, _downstream_start),
    "DOWNSTREAM_PEER_CERT_V_END": (PARAMS_OPTIONAL, _downstream_end),
    "UPSTREAM_PEER_CERT_V_START": (PARAMS_OPTIONAL, _upstream_start),
    "UPSTREAM_PEER_CERT_V_END": (PARAMS_OPTIONAL, _upstream_end),
}
