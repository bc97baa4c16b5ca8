"""Principals: who asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.data.certificate import certificate_facts
from outrider.extensions.rbac.conditions import Condition, ConditionParser, Subject
from outrider.matching.cidr import CidrList, parse_cidr_range
from outrider.matching.string_matcher import StringMatcher, parse_string_matcher
from outrider.matching.value_matcher import FilterStateMatcher, parse_filter_state_matcher
from outrider.network.tls.san_matcher import SanMatcher, is_oid, san_values
from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.config.view import View

# `Principal.custom`
RBAC_PRINCIPALS: Final[ExtensionRegistry[Condition]] = ExtensionRegistry("envoy.rbac.principals")

# Which address of the client.
CONNECTION: Final = 0
DIRECT: Final = 1
REMOTE: Final = 2


class ClientAddress(Condition):
    def __init__(self, which: int, ranges: CidrList) -> None:
        self.which = which
        self.ranges = ranges

    def matches(self, subject: Subject) -> bool:
        if self.which == REMOTE:
            return self.ranges.contains(subject.info.connection.remote_address)
        if self.which == DIRECT:
            return self.ranges.contains(subject.info.connection.direct_remote_address)
        return self.ranges.contains(subject.connection.remote_address)


class Authenticated(Condition):
    """The name in the client's certificate: a URI SAN, a DNS SAN, or else the subject; None takes any TLS client."""

    def __init__(self, matcher: StringMatcher | None) -> None:
        self.matcher: StringMatcher | None = matcher

    def matches(self, subject: Subject) -> bool:
        ssl = subject.connection.ssl
        if ssl is None:
            return False
        matcher = self.matcher
        if matcher is None:
            return True
        facts = certificate_facts(ssl.peer_certificate_der())
        if facts is None:
            return matcher.matches(b"")
        for name in facts.uri_sans():
            if matcher.matches(name.encode()):
                return True
        for name in facts.dns_sans():
            if matcher.matches(name.encode()):
                return True
        return matcher.matches(facts.subject().encode())


class FilterState(Condition):
    def __init__(self, matcher: FilterStateMatcher) -> None:
        self.matcher = matcher

    def matches(self, subject: Subject) -> bool:
        return self.matcher.matches(subject.info)


class MtlsAuthenticated(Condition):
    """A client certificate that was validated, and that has a certain alternative name."""

    def __init__(self, matcher: SanMatcher | None) -> None:
        self.matcher: SanMatcher | None = matcher

    def matches(self, subject: Subject) -> bool:
        ssl = subject.connection.ssl
        if ssl is None or not ssl.peer_validated():
            return False
        if self.matcher is None:
            return True
        der = ssl.peer_certificate_der()
        if not der:
            return False
        from cryptography import x509

        return self.matcher.matches(san_values(x509.load_der_x509_certificate(der)))


class PrincipalParser(ConditionParser):
    oneof = "identifier"
    members = "ids"

    def parse_own(self, view: View, kind: str, inner: View | None) -> Condition:
        assert inner is not None
        if kind == "authenticated":
            name = inner.message("principal_name")
            return Authenticated(None if name is None else parse_string_matcher(name, self.context))
        if kind == "source_ip":
            return ClientAddress(CONNECTION, CidrList([parse_cidr_range(inner)]))
        if kind == "direct_remote_ip":
            return ClientAddress(DIRECT, CidrList([parse_cidr_range(inner)]))
        if kind == "remote_ip":
            return ClientAddress(REMOTE, CidrList([parse_cidr_range(inner)]))
        if kind == "filter_state":
            return FilterState(parse_filter_state_matcher(inner, self.context))
        assert kind == "custom", kind
        return RBAC_PRINCIPALS.create(inner, self.context)


@RBAC_PRINCIPALS.register(
    "envoy.rbac.principals.mtls_authenticated", "envoy.extensions.rbac.principals.mtls_authenticated.v3.Config"
)
def create_mtls_authenticated(config: View, context: Any) -> Condition:
    """Raises ConfigError."""
    san = config.message("san_matcher")
    if san is None:
        if not config.flag("any_validated_client_certificate"):
            raise config.error(
                "envoy.rbac.principals.mtls_authenticated did not have any configured validation. At least one "
                "configuration field must be set."
            )
        return MtlsAuthenticated(None)
    if config.flag("any_validated_client_certificate"):
        raise config.error("any_validated_client_certificate and san_matcher exclude each other")
    text = san.message("matcher")
    if text is None:
        raise san.error("value is required", "matcher")
    kind = san.enum("san_type")
    if kind == "SAN_TYPE_UNSPECIFIED":
        raise san.error("value is required", "san_type")
    oid = san.text("oid")
    if kind == "OTHER_NAME" and not is_oid(oid):
        raise san.error("required for OTHER_NAME", "oid")
    return MtlsAuthenticated(SanMatcher(kind, parse_string_matcher(text, context), oid))
