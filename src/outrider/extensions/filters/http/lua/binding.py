"""The methods of each class of objects: names as scripts know them, and the functions behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from outrider.extensions.filters.http.lua import crypto, facts, handle, stats, values

Method = Callable[..., object]


class LuaClass:
    """`kinds` of objects that its methods give: `links` names the class of the result of a method."""

    __slots__ = ("name", "python", "methods", "links", "pairs")

    def __init__(
        self,
        name: str,
        python: type,
        methods: dict[str, tuple[Method, int]],
        links: dict[str, str],
        pairs: bool = False,
    ) -> None:
        self.name = name
        self.python = python
        # With how many arguments of a call count; the rest is dropped, as Lua does.
        self.methods = methods
        self.links = links
        self.pairs = pairs


_HANDLE: Final = handle.StreamHandle
_HEADERS: Final = values.Headers
_STREAM: Final = facts.StreamFacts
_SSL: Final = facts.SslFacts

HANDLE_METHODS: Final[dict[str, tuple[Method, int]]] = {
    "headers": (_HANDLE.headers, 0),
    "requestHeaders": (_HANDLE.request_headers, 0),
    "body": (_HANDLE.body, 1),
    "trailers": (_HANDLE.trailers, 0),
    "httpCall": (_HANDLE.http_call, 5),
    "respond": (_HANDLE.respond, 2),
    "metadata": (_HANDLE.metadata, 0),
    "filterContext": (_HANDLE.filter_context, 0),
    "virtualHost": (_HANDLE.virtual_host, 0),
    "route": (_HANDLE.route, 0),
    "streamInfo": (_HANDLE.stream_info, 0),
    "connectionStreamInfo": (_HANDLE.connection_stream_info, 0),
    "connection": (_HANDLE.connection, 0),
    "stats": (_HANDLE.stats, 0),
    "setUpstreamOverrideHost": (_HANDLE.set_upstream_override_host, 2),
    "clearRouteCache": (_HANDLE.clear_route_cache, 0),
    "importPublicKey": (_HANDLE.import_public_key, 2),
    "verifySignature": (_HANDLE.verify_signature, 6),
    "base64Escape": (_HANDLE.base64_escape, 1),
    "base64Decode": (_HANDLE.base64_decode, 1),
    "timestamp": (_HANDLE.timestamp, 1),
    "timestampString": (_HANDLE.timestamp_string, 1),
    "logTrace": (_HANDLE.log_trace, 1),
    "logDebug": (_HANDLE.log_debug, 1),
    "logInfo": (_HANDLE.log_info, 1),
    "logWarn": (_HANDLE.log_warn, 1),
    "logErr": (_HANDLE.log_err, 1),
    "logCritical": (_HANDLE.log_critical, 1),
}
HANDLE_LINKS: Final[dict[str, str]] = {
    "headers": "headers",
    "requestHeaders": "readonly_headers",
    "body": "body",
    "next_chunk": "body",
    "trailers": "headers",
    "metadata": "metadata",
    "filterContext": "metadata",
    "virtualHost": "route_part",
    "route": "route_part",
    "streamInfo": "stream_info",
    "connectionStreamInfo": "connection_stream_info",
    "connection": "connection",
    "stats": "stats",
    "importPublicKey": "public_key",
}

CLASSES: Final[list[LuaClass]] = [
    LuaClass("handle", _HANDLE, HANDLE_METHODS, HANDLE_LINKS),
    LuaClass(
        "headers",
        _HEADERS,
        {
            "add": (_HEADERS.add, 2),
            "get": (_HEADERS.get, 1),
            "getAtIndex": (_HEADERS.get_at_index, 2),
            "getNumValues": (_HEADERS.get_num_values, 1),
            "remove": (_HEADERS.remove, 1),
            "replace": (_HEADERS.replace, 2),
            "setHttp1ReasonPhrase": (_HEADERS.set_reason, 1),
        },
        {},
        pairs=True,
    ),
    LuaClass(
        "readonly_headers",
        _HEADERS,
        {
            "get": (_HEADERS.get, 1),
            "getAtIndex": (_HEADERS.get_at_index, 2),
            "getNumValues": (_HEADERS.get_num_values, 1),
        },
        {},
        pairs=True,
    ),
    LuaClass(
        "body",
        values.Body,
        {
            "length": (values.Body.length, 0),
            "getBytes": (values.Body.get_bytes, 2),
            "setBytes": (values.set_body_bytes, 1),
        },
        {},
    ),
    LuaClass("metadata", values.Metadata, {"get": (values.Metadata.get, 1)}, {}, pairs=True),
    LuaClass(
        "route_part", handle.RoutePart, {"metadata": (handle.RoutePart.get_metadata, 0)}, {"metadata": "metadata"}
    ),
    LuaClass(
        "stream_info",
        _STREAM,
        {
            "protocol": (_STREAM.protocol, 0),
            "routeName": (_STREAM.route_name, 0),
            "virtualClusterName": (_STREAM.virtual_cluster_name, 0),
            "downstreamLocalAddress": (_STREAM.local_address, 0),
            "downstreamDirectLocalAddress": (_STREAM.direct_local_address, 0),
            "downstreamRemoteAddress": (_STREAM.remote_address, 0),
            "downstreamDirectRemoteAddress": (_STREAM.direct_remote_address, 0),
            "requestedServerName": (_STREAM.requested_server_name, 0),
            "drainConnectionUponCompletion": (_STREAM.drain_connection, 0),
            "dynamicTypedMetadata": (_STREAM.typed_metadata, 1),
            "dynamicMetadata": (_STREAM.dynamic_metadata, 0),
            "filterState": (_STREAM.filter_state, 0),
            "downstreamSslConnection": (_STREAM.ssl, 0),
        },
        {"dynamicMetadata": "dynamic_metadata", "filterState": "filter_state", "downstreamSslConnection": "ssl"},
    ),
    LuaClass(
        "connection_stream_info",
        facts.ConnectionFacts,
        {
            "dynamicMetadata": (facts.ConnectionFacts.dynamic_metadata, 0),
            "dynamicTypedMetadata": (facts.ConnectionFacts.typed_metadata, 1),
        },
        {"dynamicMetadata": "connection_metadata"},
    ),
    LuaClass("connection", facts.ConnectionFacts, {"ssl": (facts.ConnectionFacts.get_ssl, 0)}, {"ssl": "ssl"}),
    LuaClass(
        "dynamic_metadata",
        facts.DynamicMetadata,
        {"get": (facts.DynamicMetadata.get, 1), "set": (facts.DynamicMetadata.set, 3)},
        {},
        pairs=True,
    ),
    LuaClass(
        "connection_metadata", facts.DynamicMetadata, {"get": (facts.DynamicMetadata.get, 1)}, {}, pairs=True
    ),
    LuaClass(
        "filter_state",
        facts.StateFacts,
        {"get": (facts.StateFacts.get, 2), "set": (facts.StateFacts.set, 3)},
        {},
    ),
    LuaClass(
        "ssl",
        _SSL,
        {
            "peerCertificatePresented": (_SSL.peer_presented, 0),
            "peerCertificateValidated": (_SSL.peer_validated, 0),
            "uriSanLocalCertificate": (_SSL.uri_sans_local, 0),
            "uriSanPeerCertificate": (_SSL.uri_sans_peer, 0),
            "dnsSansLocalCertificate": (_SSL.dns_sans_local, 0),
            "dnsSansPeerCertificate": (_SSL.dns_sans_peer, 0),
            "oidsLocalCertificate": (_SSL.oids_local, 0),
            "oidsPeerCertificate": (_SSL.oids_peer, 0),
            "sha256PeerCertificateDigest": (_SSL.digest, 0),
            "serialNumberPeerCertificate": (_SSL.serial, 0),
            "issuerPeerCertificate": (_SSL.issuer, 0),
            "subjectPeerCertificate": (_SSL.subject_peer, 0),
            "parsedSubjectPeerCertificate": (_SSL.parsed_subject, 0),
            "subjectLocalCertificate": (_SSL.subject_local, 0),
            "urlEncodedPemEncodedPeerCertificate": (_SSL.pem, 0),
            "urlEncodedPemEncodedPeerCertificateChain": (_SSL.pem_chain, 0),
            "validFromPeerCertificate": (_SSL.valid_from, 0),
            "expirationPeerCertificate": (_SSL.expiration, 0),
            "sessionId": (_SSL.session_id, 0),
            "ciphersuiteId": (_SSL.cipher_id, 0),
            "ciphersuiteString": (_SSL.cipher, 0),
            "tlsVersion": (_SSL.version, 0),
        },
        {"parsedSubjectPeerCertificate": "subject"},
    ),
    LuaClass(
        "subject",
        facts.SubjectFacts,
        {
            "commonName": (facts.SubjectFacts.common_name, 0),
            "organizationName": (facts.SubjectFacts.organization_name, 0),
        },
        {},
    ),
    LuaClass("public_key", crypto.PublicKey, {"get": (crypto.PublicKey.get, 0)}, {}),
    LuaClass(
        "stats",
        stats.StatsFacts,
        {
            "counter": (stats.StatsFacts.counter, 1),
            "gauge": (stats.StatsFacts.gauge, 1),
            "histogram": (stats.StatsFacts.histogram, 2),
        },
        {"counter": "counter", "gauge": "gauge", "histogram": "histogram"},
    ),
    LuaClass(
        "counter",
        stats.CounterFacts,
        {
            "inc": (stats.CounterFacts.inc, 0),
            "add": (stats.CounterFacts.add, 1),
            "value": (stats.CounterFacts.value, 0),
        },
        {},
    ),
    LuaClass(
        "gauge",
        stats.GaugeFacts,
        {
            "inc": (stats.GaugeFacts.inc, 0),
            "dec": (stats.GaugeFacts.dec, 0),
            "add": (stats.GaugeFacts.add, 1),
            "sub": (stats.GaugeFacts.sub, 1),
            "set": (stats.GaugeFacts.set, 1),
            "value": (stats.GaugeFacts.value, 0),
        },
        {},
    ),
    LuaClass("histogram", stats.HistogramFacts, {"recordValue": (stats.HistogramFacts.record, 1)}, {}),
]


def guarded(method: Method, most: int, failed: Any, wait: Any, link: Any) -> Method:
    """What Lua calls: a fault is told as `(text, failed)`, waiting as `(None, wait)`, an object with its class."""

    def call(target: object, *arguments: object) -> object:
        try:
            found = method(target, *arguments[:most])
        except values.LuaFault as fault:
            return fault.text.encode("utf-8", "surrogateescape"), failed
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                # Too few arguments.
                return b"bad argument: value expected", failed
            raise
        if found is handle.WAIT:
            return None, wait
        if link is not None and found is not None:
            return found, link
        return found

    return call
