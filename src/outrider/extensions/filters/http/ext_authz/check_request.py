"""`CheckRequest`: what a gRPC authorization service is told of a request or a connection.

Source: Envoy's `CheckRequestUtils`; `envoy.service.auth.v3.AttributeContext`. Also used by the network filter.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any, Final

from outrider.config import api
from outrider.data.address import KIND_INTERNAL, KIND_IP, Address
from outrider.data.certificate import certificate_facts
from outrider.data.header_map import RequestHeaderMap
from outrider.data.stream_info import PROTOCOL_TEXT, ConnectionInfo, SslInfo, StreamInfo

if TYPE_CHECKING:
    from outrider.matching.string_matcher import StringMatcher

_PARTIAL_BODY: Final = b"x-envoy-auth-partial-body"
_SERVICE: Final = b"x-envoy-downstream-service-cluster"


def _exclamation(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return "!", error.start + 1
    raise error


codecs.register_error("outrider.exclamation", _exclamation)


def utf8(data: bytes) -> str:
    """As text, with an exclamation mark for each byte that is not UTF-8: protobuf strings must be."""
    return data.decode("utf-8", "outrider.exclamation")


class CheckSettings:
    """What goes into the requests of one filter."""

    __slots__ = (
        "allowed", "disallowed", "raw_headers", "pack_as_bytes", "certificate", "tls_session", "labels", "namespaces",
        "route_namespaces",
    )  # fmt: skip

    def __init__(self) -> None:
        # Names of request fields that are told; None = all.
        self.allowed: StringMatcher | None = None
        self.disallowed: StringMatcher | None = None
        self.raw_headers: bool = False
        self.pack_as_bytes: bool = False
        self.certificate: bool = False
        self.tls_session: bool = False
        self.labels: dict[str, str] = {}
        # Namespaces of dynamic metadata (the stream's, else the connection's), and of the route's metadata.
        self.namespaces: list[str] = []
        self.route_namespaces: list[str] = []


def fill_peers(attributes: Any, info: ConnectionInfo, service: str, settings: CheckSettings) -> None:
    """`source` and `destination`."""
    ssl = info.ssl
    source = attributes.source
    _fill_address(source.address, info.remote_address)
    if ssl is not None:
        source.principal = _principal(ssl, True)
        if settings.certificate:
            facts = certificate_facts(ssl.peer_certificate_der())
            source.certificate = "" if facts is None else facts.url_encoded_pem()
    if service:
        source.service = service
    destination = attributes.destination
    _fill_address(destination.address, info.local_address)
    if ssl is not None:
        destination.principal = _principal(ssl, False)
    for key, value in settings.labels.items():
        destination.labels[key] = value
    if settings.tls_session:
        attributes.tls_session.SetInParent()
        if ssl is not None and ssl.sni():
            attributes.tls_session.sni = ssl.sni()


def _fill_address(target: Any, address: Address) -> None:
    if address.kind == KIND_IP:
        target.socket_address.address = address.host
        target.socket_address.port_value = address.port
    elif address.kind == KIND_INTERNAL:
        target.envoy_internal_address.server_listener_name = address.host
    else:
        target.pipe.path = address.host


def _principal(ssl: SslInfo, peer: bool) -> str:
    facts = certificate_facts(ssl.peer_certificate_der() if peer else ssl.local_certificate_der())
    if facts is None:
        return ""
    uris = facts.uri_sans()
    if uris:
        return uris[0]
    names = facts.dns_sans()
    return names[0] if names else facts.subject()


def fill_metadata(target: Any, namespaces: list[str], sources: list[dict[str, dict[str, object]] | None]) -> None:
    """The named namespaces, each from the first source that has it."""
    target.SetInParent()
    for namespace in namespaces:
        for source in sources:
            found = None if source is None else source.get(namespace)
            if found is not None:
                target.filter_metadata[namespace].update(found)
                break


def http_check(
    settings: CheckSettings,
    stream_id: str,
    info: StreamInfo,
    headers: RequestHeaderMap,
    body: bytes | None,
    partial: bool,
    extensions: dict[str, str],
    route_metadata: dict[str, dict[str, object]],
) -> bytes:
    """A serialized CheckRequest. `body` None: the service is told nothing of it."""
    message: Any = api.new("envoy.service.auth.v3.CheckRequest")
    attributes = message.attributes
    service = headers.single.get(_SERVICE)
    fill_peers(attributes, info.connection, "" if service is None else utf8(service), settings)
    attributes.request.time.FromNanoseconds(info.start_time_ns)
    http = attributes.request.http
    http.id = stream_id
    http.method = utf8(headers.method)
    http.path = utf8(headers.path)
    http.host = utf8(headers.authority)
    http.scheme = utf8(headers.scheme)
    http.size = info.bytes_received
    http.protocol = PROTOCOL_TEXT[info.protocol]
    if body is not None:
        if settings.pack_as_bytes:
            http.raw_body = body
        else:
            http.body = utf8(body)
    _fill_headers(http, settings, headers)
    if body is not None:
        text = "true" if partial else "false"
        if settings.raw_headers:
            http.header_map.headers.add(key=_PARTIAL_BODY.decode(), raw_value=text.encode())
        else:
            http.headers[_PARTIAL_BODY.decode()] = text
    for key, value in extensions.items():
        attributes.context_extensions[key] = value
    fill_metadata(attributes.metadata_context, settings.namespaces, [info.metadata, info.connection.metadata])
    fill_metadata(attributes.route_metadata_context, settings.route_namespaces, [route_metadata])
    return message.SerializeToString()  # type: ignore[no-any-return]


def _fill_headers(http: Any, settings: CheckSettings, headers: RequestHeaderMap) -> None:
    allowed = settings.allowed
    disallowed = settings.disallowed
    raw = settings.raw_headers
    if raw:
        http.header_map.SetInParent()
    told: dict[str, str] = {}
    for name, value in headers.all_items():
        # A client's own word on that could mislead the service.
        if name == _PARTIAL_BODY:
            continue
        if (allowed is not None and not allowed.matches(name)) or (disallowed is not None and disallowed.matches(name)):
            continue
        key = utf8(name)
        if raw:
            http.header_map.headers.add(key=key, raw_value=value)
        elif key in told:
            told[key] = f"{told[key]},{utf8(value)}"
        else:
            told[key] = utf8(value)
    for key, text in told.items():
        http.headers[key] = text
