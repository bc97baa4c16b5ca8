"""The certificates in use, for `/certs` and `server.days_until_first_cert_expiring`.

Imported only where TLS is configured.
"""

from __future__ import annotations

import datetime
from typing import Any

from cryptography import x509

from outrider.network.tls.factory import TlsFactory
from outrider.network.transport_socket import TransportSocketFactory


def tls_factories(factories: list[TransportSocketFactory]) -> list[TlsFactory]:
    """Those that hold certificates, each once."""
    found: list[TlsFactory] = []
    for factory in factories:
        if isinstance(factory, TlsFactory) and factory not in found:
            found.append(factory)
    return found


def certificate_trees(factories: list[TransportSocketFactory]) -> list[dict[str, Any]]:
    """Trees of `envoy.admin.v3.Certificate`, one for each TLS context."""
    trees = []
    now = datetime.datetime.now(datetime.UTC)
    for factory in tls_factories(factories):
        if factory.context is None:
            # Its secrets have not come.
            continue
        settings = factory.settings
        trusted: list[dict[str, Any]] = []
        validation = settings.validation
        if validation is not None and validation.trusted_ca is not None:
            # Of a bundle Envoy shows the first.
            trusted = [details(each, validation.trusted_ca.name, now) for each in validation.trusted[:1]]
        chains = [details(pair.leaf, pair.name, now) for pair in settings.key_pairs]
        trees.append({"ca_cert": trusted, "cert_chain": chains})
    return trees


def days_until_first_expires(factories: list[TransportSocketFactory]) -> int | None:
    """None without a certificate; 0 for one that has expired."""
    days: list[int] = []
    now = datetime.datetime.now(datetime.UTC)
    for factory in tls_factories(factories):
        settings = factory.settings
        found = [pair.leaf for pair in settings.key_pairs]
        if settings.validation is not None:
            found += settings.validation.trusted
        days += [days_until(each, now) for each in found]
    return min(days, default=None)


def days_until(certificate: x509.Certificate, now: datetime.datetime) -> int:
    return max((certificate.not_valid_after_utc - now).days, 0)


def details(certificate: x509.Certificate, path: str, now: datetime.datetime) -> dict[str, Any]:
    """`envoy.admin.v3.CertificateDetails`."""
    number = f"{certificate.serial_number:x}"
    return {
        "path": path,
        "serial_number": number if len(number) % 2 == 0 else f"0{number}",
        "subject_alt_names": alternative_names(certificate),
        "days_until_expiration": str(days_until(certificate, now)),
        "valid_from": moment(certificate.not_valid_before_utc),
        "expiration_time": moment(certificate.not_valid_after_utc),
    }


def moment(when: datetime.datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def alternative_names(certificate: x509.Certificate) -> list[dict[str, str]]:
    """DNS names, then URIs, then IP addresses, as Envoy lists them."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    found = [{"dns": name} for name in names.get_values_for_type(x509.DNSName)]
    found += [{"uri": name} for name in names.get_values_for_type(x509.UniformResourceIdentifier)]
    found += [{"ip_address": str(address)} for address in names.get_values_for_type(x509.IPAddress)]
    return found
