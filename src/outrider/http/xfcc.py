"""x-forwarded-client-cert: what is told upstream of the client's certificate.

Source: Envoy documentation, "HTTP header x-forwarded-client-cert"; `forward_client_cert_details`,
`set_current_client_cert_details`.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from outrider.data.header_map import RequestHeaderMap
from outrider.data.header_names import FORWARDED_CLIENT_CERT
from outrider.data.stream_info import ConnectionInfo, SslInfo

SANITIZE: Final = 0
FORWARD_ONLY: Final = 1
APPEND_FORWARD: Final = 2
SANITIZE_SET: Final = 3
ALWAYS_FORWARD_ONLY: Final = 4

_SPECIAL: Final = frozenset(',;="')


@mypyc_attr(allow_interpreted_subclasses=True)
class CertificateFacts:
    """Reads what the header tells from a connection's certificates; the TLS layer supplies the subclass."""

    def peer_hash(self, ssl: SslInfo) -> str:
        """Lower-case hexadecimal SHA-256 of the peer's DER certificate."""
        return ""

    def peer_pem(self, ssl: SslInfo) -> str:
        """URL-encoded PEM."""
        return ""

    def peer_chain_pem(self, ssl: SslInfo) -> str:
        return ""

    def peer_subject(self, ssl: SslInfo) -> str:
        """RFC 2253 form."""
        return ""

    def peer_issuer(self, ssl: SslInfo) -> str:
        return ""

    def peer_uris(self, ssl: SslInfo) -> list[str]:
        return []

    def peer_dns_names(self, ssl: SslInfo) -> list[str]:
        return []

    def local_uris(self, ssl: SslInfo) -> list[str]:
        return []


class ClientCertRules:
    """`forward_client_cert_details` with `set_current_client_cert_details`."""

    __slots__ = ("mode", "subject", "cert", "chain", "dns", "uri", "issuer", "facts", "active")

    def __init__(self, mode: int = SANITIZE, facts: CertificateFacts | None = None) -> None:
        self.mode = mode
        self.facts: CertificateFacts = CertificateFacts() if facts is None else facts
        self.subject: bool = False
        self.cert: bool = False
        self.chain: bool = False
        self.dns: bool = False
        self.uri: bool = False
        self.issuer: bool = False
        # Whether the rules may do anything to a request that came without the header.
        self.active: bool = mode in (APPEND_FORWARD, SANITIZE_SET)

    def mutate(self, headers: RequestHeaderMap, connection: ConnectionInfo) -> None:
        mode = self.mode
        if mode == ALWAYS_FORWARD_ONLY:
            return
        ssl = connection.ssl
        mutual = ssl is not None and ssl.peer_presented()
        if not mutual or mode == SANITIZE:
            # Without a client certificate nobody vouches for the field.
            headers.remove(FORWARDED_CLIENT_CERT)
            return
        if mode == FORWARD_ONLY or ssl is None:
            return
        element = self._element(ssl)
        if mode == APPEND_FORWARD:
            headers.append(FORWARDED_CLIENT_CERT, element)
        else:
            headers.set(FORWARDED_CLIENT_CERT, element)

    def _element(self, ssl: SslInfo) -> bytes:
        facts = self.facts
        parts: list[str] = []
        for uri in facts.local_uris(ssl):
            parts.append(f"By={_quoted(uri)}")
        digest = facts.peer_hash(ssl)
        if digest:
            parts.append(f"Hash={digest}")
        if self.cert:
            pem = facts.peer_pem(ssl)
            if pem:
                parts.append(f'Cert="{pem}"')
        if self.chain:
            pem = facts.peer_chain_pem(ssl)
            if pem:
                parts.append(f'Chain="{pem}"')
        if self.subject:
            # Always quoted: a distinguished name holds commas and equals signs.
            escaped = facts.peer_subject(ssl).replace('"', '\\"')
            parts.append(f'Subject="{escaped}"')
        if self.issuer:
            escaped = facts.peer_issuer(ssl).replace('"', '\\"')
            parts.append(f'Issuer="{escaped}"')
        if self.uri:
            uris = facts.peer_uris(ssl)
            for uri in uris:
                parts.append(f"URI={_quoted(uri)}")
            if not uris:
                parts.append("URI=")
        if self.dns:
            for name in facts.peer_dns_names(ssl):
                parts.append(f"DNS={_quoted(name)}")
        return ";".join(parts).encode("utf-8", "replace")


def _quoted(value: str) -> str:
    if _SPECIAL.isdisjoint(value):
        return value
    escaped = value.replace('"', '\\"')
    return f'"{escaped}"'
