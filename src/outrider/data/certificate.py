"""What logs and headers show of an X.509 certificate, parsed once from its DER form.

Distinguished names are RFC 2253 texts as OpenSSL prints them (XN_FLAG_RFC2253).
"""

from __future__ import annotations

import base64
import hashlib
import urllib.parse
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.x509.oid import ObjectIdentifier

# Short names that OpenSSL knows, by OID; any other attribute prints as `OID=#DER in hex`.
_SHORT_NAMES: Final[dict[str, str]] = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.13": "description",
    "2.5.4.17": "postalCode",
    "2.5.4.20": "telephoneNumber",
    "2.5.4.41": "name",
    "2.5.4.42": "GN",
    "2.5.4.43": "initials",
    "2.5.4.44": "generationQualifier",
    "2.5.4.45": "x500UniqueIdentifier",
    "2.5.4.46": "dnQualifier",
    "2.5.4.65": "pseudonym",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
    "1.2.840.113549.1.9.2": "unstructuredName",
}
_ESCAPED: Final = ',+"\\<>;'


class CertificateFacts:
    """One certificate. Raises ValueError where the bytes are none."""

    __slots__ = ("der", "_certificate", "_names")

    def __init__(self, der: bytes) -> None:
        self.der = der
        # Imported when first needed: most configurations log no certificate, and the library takes long to load.
        from cryptography import x509

        self._certificate: Any = x509.load_der_x509_certificate(der)
        self._names: dict[str, list[str]] | None = None

    def subject(self) -> str:
        return distinguished_name(self._certificate.subject)

    def issuer(self) -> str:
        return distinguished_name(self._certificate.issuer)

    def serial(self) -> str:
        """Lower-case hex of whole octets."""
        number = self._certificate.serial_number
        return str(number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big").hex())

    def fingerprint_sha256(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    def fingerprint_sha1(self) -> str:
        return hashlib.sha1(self.der, usedforsecurity=False).hexdigest()

    def pem(self) -> str:
        encoded = base64.b64encode(self.der).decode()
        lines = [encoded[start : start + 64] for start in range(0, len(encoded), 64)]
        return "-----BEGIN CERTIFICATE-----\n" + "\n".join(lines) + "\n-----END CERTIFICATE-----\n"

    def url_encoded_pem(self) -> str:
        return urllib.parse.quote(self.pem(), safe="-_.~")

    def not_before_ns(self) -> int:
        """Start of validity, Unix nanoseconds."""
        return int(self._certificate.not_valid_before_utc.timestamp()) * 1_000_000_000

    def not_after_ns(self) -> int:
        return int(self._certificate.not_valid_after_utc.timestamp()) * 1_000_000_000

    def uri_sans(self) -> list[str]:
        return self._alternative_names().get("uri", [])

    def dns_sans(self) -> list[str]:
        return self._alternative_names().get("dns", [])

    def ip_sans(self) -> list[str]:
        return self._alternative_names().get("ip", [])

    def email_sans(self) -> list[str]:
        return self._alternative_names().get("email", [])

    def other_name_sans(self) -> list[str]:
        return self._alternative_names().get("other", [])

    def _alternative_names(self) -> dict[str, list[str]]:
        names = self._names
        if names is None:
            from cryptography import x509

            names = {}
            try:
                extension = self._certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
                found = list(extension.value)
            except (x509.ExtensionNotFound, ValueError):
                found = []
            for name in found:
                if isinstance(name, x509.UniformResourceIdentifier):
                    names.setdefault("uri", []).append(name.value)
                elif isinstance(name, x509.DNSName):
                    names.setdefault("dns", []).append(name.value)
                elif isinstance(name, x509.IPAddress):
                    names.setdefault("ip", []).append(str(name.value))
                elif isinstance(name, x509.RFC822Name):
                    names.setdefault("email", []).append(name.value)
                elif isinstance(name, x509.OtherName):
                    text = der_text(name.value)
                    if text is not None:
                        names.setdefault("other", []).append(text)
            self._names = names
        return names


# Certificates looked at lately, by their bytes; a proxy sees few different ones, and a peer cannot grow this.
_PARSED: Final[dict[bytes, CertificateFacts | None]] = {}
_PARSED_LIMIT: Final = 1024


def certificate_facts(der: bytes) -> CertificateFacts | None:
    """The certificate in `der`; None for no bytes or bytes that are no certificate."""
    if not der:
        return None
    if der in _PARSED:
        return _PARSED[der]
    facts: CertificateFacts | None
    try:
        facts = CertificateFacts(der)
    except ValueError:
        facts = None
    if len(_PARSED) >= _PARSED_LIMIT:
        _PARSED.clear()
    _PARSED[der] = facts
    return facts


def distinguished_name(name: x509.Name) -> str:
    """RFC 2253: most specific attribute first."""
    parts: list[str] = []
    # Typed here, since the build may not see the types of `cryptography`.
    names: list[list[Any]] = [list(rdn) for rdn in name.rdns]
    names.reverse()
    for rdn in names:
        parts.append("+".join([_attribute(attribute) for attribute in rdn]))
    return ",".join(parts)


def _attribute(attribute: x509.NameAttribute[str | bytes]) -> str:
    oid: ObjectIdentifier = attribute.oid
    value = attribute.value
    short = _SHORT_NAMES.get(oid.dotted_string)
    if short is None or isinstance(value, bytes):
        raw = value if isinstance(value, bytes) else value.encode()
        # The string type is not public; UTF8String (12) is what certificates use today.
        tag = int(getattr(getattr(attribute, "_type", None), "value", 12))
        return f"{short or oid.dotted_string}=#{(bytes([tag]) + _der_length(len(raw)) + raw).hex().upper()}"
    return f"{short}={escape_value(value)}"


def _der_length(length: int) -> bytes:
    if length < 128:
        return bytes([length])
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


def escape_value(value: str) -> str:
    """An attribute value with RFC 2253's escapes; octets outside ASCII and controls as `\\XX`."""
    text: list[str] = []
    last = len(value) - 1
    for index, character in enumerate(value):
        if character in _ESCAPED or (character == "#" and index == 0) or (character == " " and index in (0, last)):
            text.append("\\" + character)
        elif " " <= character <= "~":
            text.append(character)
        else:
            text.extend([f"\\{octet:02X}" for octet in character.encode("utf-8", "surrogatepass")])
    return "".join(text)


def der_text(value: bytes) -> str | None:
    """An otherName's primitive value as text: strings as they are, integers and booleans as numbers; else None."""
    if len(value) < 2 or value[1] >= 0x80:
        return None
    tag = value[0]
    content = value[2 : 2 + value[1]]
    if tag in (0x0C, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B):
        return content.decode("utf-8", "surrogateescape")
    if tag == 0x1E:
        return content.decode("utf-16-be", "replace")
    if tag == 0x1C:
        return content.decode("utf-32-be", "replace")
    if tag in (0x02, 0x0A):
        return str(int.from_bytes(content, "big", signed=True))
    if tag == 0x01:
        return "true" if any(content) else "false"
    return None
