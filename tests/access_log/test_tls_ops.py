"""TLS facts and certificates. Texts were read off Envoy 1.40 for certificates with the same names."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import urllib.parse

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from outrider.access_log.context import FormatContext
from outrider.access_log.formatter import parse_format
from outrider.data.certificate import CertificateFacts, der_text, escape_value

from . import scene

KEY = ec.generate_private_key(ec.SECP256R1())
UTC = datetime.UTC


def name(*attributes: tuple[ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def certificate(
    subject: x509.Name, issuer: x509.Name, serial: int, names: list[x509.GeneralName] | None = None
) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(KEY.public_key())
        .serial_number(serial)
        .not_valid_before(datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC))
        .not_valid_after(datetime.datetime(2040, 11, 12, 13, 14, 15, tzinfo=UTC))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


ISSUER = name((NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Int, Inc."), (NameOID.COMMON_NAME, "Int CA"))
CLIENT = certificate(
    name(
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.STATE_OR_PROVINCE_NAME, "CA"),
        (NameOID.LOCALITY_NAME, "S F"),
        (NameOID.ORGANIZATION_NAME, 'A+B, "C" <x>;=\\#'),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "#hash "),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, " lead"),
        (NameOID.EMAIL_ADDRESS, "e@x.org"),
        (NameOID.DOMAIN_COMPONENT, "dc1"),
        (NameOID.USER_ID, "uid1"),
        (NameOID.SERIAL_NUMBER, "12"),
        (NameOID.TITLE, "T"),
        (NameOID.GIVEN_NAME, "G"),
        (NameOID.SURNAME, "S"),
        (ObjectIdentifier("1.2.3.4.5"), "custom"),
        (NameOID.STREET_ADDRESS, "st"),
        (NameOID.POSTAL_CODE, "pc"),
        (NameOID.COMMON_NAME, "client \u00e9"),
    ),
    ISSUER,
    0x00F1E2D3C4B5A697,
    [
        x509.UniformResourceIdentifier("spiffe://c/1"),
        x509.UniformResourceIdentifier("http://c/2,x"),
        x509.DNSName("a.example.com"),
        x509.DNSName("*.b.example.com"),
        x509.IPAddress(ipaddress.ip_address("1.2.3.4")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
        x509.RFC822Name("m@x.org"),
        x509.OtherName(ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x07upn@x.y"),
        x509.OtherName(ObjectIdentifier("1.2.3.4.9"), b"\x02\x01\x05"),
        x509.DirectoryName(name((NameOID.COMMON_NAME, "dir"))),
    ],
)
INTERMEDIATE = certificate(ISSUER, name((NameOID.COMMON_NAME, "Test CA")), 0x0ABC)
SERVER = certificate(
    name((NameOID.ORGANIZATION_NAME, "Srv"), (NameOID.COMMON_NAME, "server")),
    name((NameOID.COMMON_NAME, "Test CA")),
    7,
    [
        x509.UniformResourceIdentifier("spiffe://s"),
        x509.DNSName("localhost"),
        x509.DNSName("srv.example.com"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.RFC822Name("s@x.org"),
        x509.OtherName(ObjectIdentifier("1.2.3.4.9"), b"\x0c\x02hi"),
    ],
)


def context() -> FormatContext:
    """mTLS on both sides: CLIENT talks to a proxy that is SERVER, and that is CLIENT to a SERVER."""
    made = scene.proxied()
    made.stream_info.connection.ssl = scene.FakeSsl([CLIENT, INTERMEDIATE], SERVER)
    upstream = made.stream_info.upstream
    assert upstream is not None
    upstream.ssl = scene.FakeSsl([SERVER], CLIENT)
    return made


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("DOWNSTREAM_LOCAL_DNS_SAN", "localhost,srv.example.com"),
        ("DOWNSTREAM_LOCAL_EMAIL_SAN", "s@x.org"),
        ("DOWNSTREAM_LOCAL_IP_SAN", "127.0.0.1"),
        ("DOWNSTREAM_LOCAL_OTHERNAME_SAN", "hi"),
        ("DOWNSTREAM_LOCAL_SUBJECT", "CN=server,O=Srv"),
        ("DOWNSTREAM_LOCAL_URI_SAN", "spiffe://s"),
        ("DOWNSTREAM_PEER_CHAIN_SERIALS", "f1e2d3c4b5a697,0abc"),
        ("DOWNSTREAM_PEER_DNS_SAN", "a.example.com,*.b.example.com"),
        ("DOWNSTREAM_PEER_EMAIL_SAN", "m@x.org"),
        ("DOWNSTREAM_PEER_IP_SAN", "1.2.3.4,2001:db8::1"),
        ("DOWNSTREAM_PEER_ISSUER", "CN=Int CA,O=Int\\, Inc.,C=DE"),
        ("DOWNSTREAM_PEER_ISSUER_SERIAL", "0abc"),
        ("DOWNSTREAM_PEER_OTHERNAME_SAN", "upn@x.y,5"),
        ("DOWNSTREAM_PEER_SERIAL", "f1e2d3c4b5a697"),
        (
            "DOWNSTREAM_PEER_SUBJECT",
            "CN=client \\C3\\A9,postalCode=pc,street=st,1.2.3.4.5=#0C06637573746F6D,SN=S,GN=G,title=T,serialNumber=12,"
            'UID=uid1,DC=dc1,emailAddress=e@x.org,OU=\\ lead,OU=\\#hash\\ ,O=A\\+B\\, \\"C\\" \\<x\\>\\;=\\\\#,'
            "L=S F,ST=CA,C=US",
        ),
        ("DOWNSTREAM_PEER_URI_SAN", "spiffe://c/1,http://c/2,x"),
        ("DOWNSTREAM_PEER_CERT_V_START", "2020-01-02T03:04:05.000Z"),
        ("DOWNSTREAM_PEER_CERT_V_START(%Y-%m-%d %H:%M:%S %3f)", "2020-01-02 03:04:05 000"),
        ("DOWNSTREAM_PEER_CERT_V_END(%b %e %H:%M:%S %Y %Z)", "Nov 12 13:14:15 2040 UTC"),
        ("DOWNSTREAM_TLS_CIPHER", "TLS_AES_256_GCM_SHA384"),
        ("DOWNSTREAM_TLS_GROUP", "X25519"),
        ("DOWNSTREAM_TLS_SESSION_ID", "df12"),
        ("DOWNSTREAM_TLS_VERSION", "TLSv1.3"),
        ("UPSTREAM_LOCAL_URI_SAN", "spiffe://c/1,http://c/2,x"),
        ("UPSTREAM_PEER_CERT_V_START(%s)", "1577934245"),
        ("UPSTREAM_PEER_DNS_SAN", "localhost,srv.example.com"),
        ("UPSTREAM_PEER_ISSUER", "CN=Test CA"),
        ("UPSTREAM_PEER_SUBJECT", "CN=server,O=Srv"),
        ("UPSTREAM_SERVER_NAME", "srv.example.com"),
        ("UPSTREAM_TLS_VERSION", "TLSv1.3"),
    ],
)
def test_facts(command: str, expected: str) -> None:
    assert parse_format(f"%{command}%").format(context()) == expected
    assert parse_format(f"%{command}%").format(scene.proxied()) == "-"


def test_fingerprints() -> None:
    chain = [CLIENT, INTERMEDIATE]
    sha256 = [hashlib.sha256(der).hexdigest() for der in chain]
    sha1 = [hashlib.sha1(der).hexdigest() for der in chain]
    made = context()
    assert parse_format("%DOWNSTREAM_PEER_FINGERPRINT_256%").format(made) == sha256[0]
    assert parse_format("%DOWNSTREAM_PEER_FINGERPRINT_1%").format(made) == sha1[0]
    assert parse_format("%DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256%").format(made) == ",".join(sha256)
    assert parse_format("%DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1%").format(made) == ",".join(sha1)
    assert parse_format("%DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256%").format(made) == sha256[1]


def test_certificate_as_url_encoded_pem() -> None:
    printed = parse_format("%DOWNSTREAM_PEER_CERT%").format(context())
    assert printed.startswith("-----BEGIN%20CERTIFICATE-----%0AMII")
    assert printed.endswith("-----END%20CERTIFICATE-----%0A")
    pem = urllib.parse.unquote(printed)
    assert x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER) == CLIENT
    assert "+" not in printed
    assert "/" not in printed


def test_bytes_that_are_no_certificate() -> None:
    made = scene.proxied()
    made.stream_info.connection.ssl = scene.FakeSsl([b"junk", b"\x30\x03\x02\x01\x01"])
    for command in ("DOWNSTREAM_PEER_SUBJECT", "DOWNSTREAM_PEER_CHAIN_SERIALS", "DOWNSTREAM_PEER_ISSUER_SERIAL"):
        assert parse_format(f"%{command}%").format(made) == "-"
    with pytest.raises(ValueError):
        CertificateFacts(b"junk")


def test_escapes() -> None:
    assert escape_value(" a#b ") == "\\ a#b\\ "
    assert escape_value("#") == "\\#"
    assert escape_value("a\n\u20ac") == "a\\0A\\E2\\82\\AC"


@pytest.mark.parametrize(
    ("der", "expected"),
    [
        (b"\x0c\x02hi", "hi"),
        (b"\x1e\x04\x00h\x00i", "hi"),
        (b"\x02\x01\xff", "-1"),
        (b"\x01\x01\xff", "true"),
        (b"\x30\x00", None),
        (b"\x0c", None),
    ],
)
def test_other_names(der: bytes, expected: str | None) -> None:
    assert der_text(der) == expected
