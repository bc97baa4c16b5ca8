"""`streamInfo()`, `connection()` and what hangs on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.data.certificate import certificate_facts
from outrider.data.filter_state import FilterStateObject, StringState
from outrider.data.stream_info import PROTOCOL_TEXT, ConnectionInfo, SslInfo, StreamInfo
from outrider.extensions.filters.http.lua.values import Iteration, LuaFault, from_lua, to_lua, want_text

if TYPE_CHECKING:
    from outrider.data.certificate import CertificateFacts

_CIPHER_IDS: Final[dict[str, int]] = {
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
    "ECDHE-ECDSA-AES128-GCM-SHA256": 0xC02B,
    "ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C,
    "ECDHE-RSA-AES128-GCM-SHA256": 0xC02F,
    "ECDHE-RSA-AES256-GCM-SHA384": 0xC030,
    "ECDHE-RSA-CHACHA20-POLY1305": 0xCCA8,
    "ECDHE-ECDSA-CHACHA20-POLY1305": 0xCCA9,
    "ECDHE-ECDSA-AES128-SHA": 0xC009,
    "ECDHE-ECDSA-AES256-SHA": 0xC00A,
    "ECDHE-RSA-AES128-SHA": 0xC013,
    "ECDHE-RSA-AES256-SHA": 0xC014,
    "AES128-GCM-SHA256": 0x009C,
    "AES256-GCM-SHA384": 0x009D,
    "AES128-SHA": 0x002F,
    "AES256-SHA": 0x0035,
}
# Factories of filter state objects that are made from a text.
_STATE_FACTORIES: Final = frozenset((b"envoy.string", b"envoy.hashable_string", b"envoy.tcp_proxy.cluster"))


class StreamFacts:
    """`streamInfo()`."""

    __slots__ = ("lua", "info")

    def __init__(self, lua: Any, info: StreamInfo) -> None:
        self.lua = lua
        self.info = info

    def protocol(self) -> bytes:
        return PROTOCOL_TEXT[self.info.protocol].encode()

    def route_name(self) -> bytes:
        return self.info.route_name.encode()

    def virtual_cluster_name(self) -> bytes:
        return self.info.virtual_cluster_name.encode()

    def local_address(self) -> bytes:
        return self.info.connection.local_address.text.encode()

    def direct_local_address(self) -> bytes:
        return self.info.connection.direct_local_address.text.encode()

    def remote_address(self) -> bytes:
        return self.info.connection.remote_address.text.encode()

    def direct_remote_address(self) -> bytes:
        return self.info.connection.direct_remote_address.text.encode()

    def requested_server_name(self) -> bytes:
        return self.info.connection.requested_server_name.encode()

    def dynamic_metadata(self) -> DynamicMetadata:
        return DynamicMetadata(self.lua, self.info)

    def filter_state(self) -> StateFacts:
        return StateFacts(self.info)

    def ssl(self) -> SslFacts | None:
        ssl = self.info.connection.ssl
        return None if ssl is None else SslFacts(self.lua, ssl)

    def drain_connection(self) -> None:
        self.info.should_drain_connection = True

    def typed_metadata(self, name: object) -> None:
        """There is no dynamic metadata of that form here; nil is the documented answer."""
        want_text(name, 1, "dynamicTypedMetadata")


class DynamicMetadata:
    """`dynamicMetadata()` of a stream, or of its connection (`writable` False)."""

    __slots__ = ("lua", "owner", "iteration")

    def __init__(self, lua: Any, owner: StreamInfo | ConnectionInfo) -> None:
        self.lua = lua
        self.owner = owner
        self.iteration = Iteration()

    def get(self, name: object) -> object:
        key = want_text(name, 1, "get").decode("utf-8", "surrogateescape")
        values = (self.owner.metadata or {}).get(key)
        return None if values is None else to_lua(self.lua, values)

    def set(self, name: object, key: object, value: object) -> None:
        if self.iteration.active:
            raise LuaFault("dynamic metadata map cannot be modified while iterating")
        owner = self.owner
        assert isinstance(owner, StreamInfo)
        namespace = want_text(name, 1, "set").decode("utf-8", "surrogateescape")
        owner.set_metadata(namespace, {want_text(key, 2, "set").decode("utf-8", "surrogateescape"): from_lua(value)})

    def begin_iteration(self) -> None:
        entries = (self.owner.metadata or {}).items()
        self.iteration.begin([(to_lua(self.lua, key), to_lua(self.lua, each)) for key, each in entries])

    def next_entry(self) -> tuple[object, object]:
        return self.iteration.step()


class StateFacts:
    """`filterState()`."""

    __slots__ = ("info",)

    def __init__(self, info: StreamInfo) -> None:
        self.info = info

    def get(self, name: object, field: object = None) -> object:
        key = want_text(name, 1, "get").decode("utf-8", "surrogateescape")
        held = (self.info.filter_state or {}).get(key)
        if held is None:
            held = (self.info.connection.filter_state or {}).get(key)
        if not isinstance(held, FilterStateObject):
            return None
        if field is not None:
            found = held.field(want_text(field, 2, "get").decode("utf-8", "surrogateescape"))
            return found.encode() if isinstance(found, str) else found
        text = held.serialize()
        return None if text is None else text.encode("utf-8", "surrogateescape")

    def set(self, name: object, factory: object, payload: object) -> None:
        key, kind = want_text(name, 1, "set"), want_text(factory, 2, "set")
        text = want_text(payload, 3, "set")
        if kind not in _STATE_FACTORIES:
            raise LuaFault(f"'{kind.decode('utf-8', 'replace')}' does not have an object factory")
        if self.info.filter_state is None:
            self.info.filter_state = {}
        state = StringState(text.decode("utf-8", "surrogateescape"))
        self.info.filter_state[key.decode("utf-8", "surrogateescape")] = state


class ConnectionFacts:
    """`connection()` and `connectionStreamInfo()`."""

    __slots__ = ("lua", "info")

    def __init__(self, lua: Any, info: ConnectionInfo) -> None:
        self.lua = lua
        self.info = info

    def get_ssl(self) -> SslFacts | None:
        return None if self.info.ssl is None else SslFacts(self.lua, self.info.ssl)

    def dynamic_metadata(self) -> DynamicMetadata:
        return DynamicMetadata(self.lua, self.info)

    def typed_metadata(self, name: object) -> None:
        want_text(name, 1, "dynamicTypedMetadata")


class SslFacts:
    """`ssl()` and `downstreamSslConnection()`."""

    __slots__ = ("lua", "ssl")

    def __init__(self, lua: Any, ssl: SslInfo) -> None:
        self.lua = lua
        self.ssl = ssl

    def _peer(self) -> CertificateFacts | None:
        return certificate_facts(self.ssl.peer_certificate_der())

    def _local(self) -> CertificateFacts | None:
        return certificate_facts(self.ssl.local_certificate_der())

    def _list(self, texts: list[str]) -> object:
        return to_lua(self.lua, texts)

    def peer_presented(self) -> bool:
        return self.ssl.peer_presented()

    def peer_validated(self) -> bool:
        return self.ssl.peer_validated()

    def uri_sans_local(self) -> object:
        facts = self._local()
        return self._list([] if facts is None else facts.uri_sans())

    def uri_sans_peer(self) -> object:
        facts = self._peer()
        return self._list([] if facts is None else facts.uri_sans())

    def dns_sans_local(self) -> object:
        facts = self._local()
        return self._list([] if facts is None else facts.dns_sans())

    def dns_sans_peer(self) -> object:
        facts = self._peer()
        return self._list([] if facts is None else facts.dns_sans())

    def oids_local(self) -> object:
        return self._list(_oids(self.ssl.local_certificate_der()))

    def oids_peer(self) -> object:
        return self._list(_oids(self.ssl.peer_certificate_der()))

    def digest(self) -> bytes:
        facts = self._peer()
        return b"" if facts is None else facts.fingerprint_sha256().encode()

    def serial(self) -> bytes:
        facts = self._peer()
        return b"" if facts is None else facts.serial().encode()

    def issuer(self) -> bytes:
        facts = self._peer()
        return b"" if facts is None else facts.issuer().encode()

    def subject_peer(self) -> bytes:
        facts = self._peer()
        return b"" if facts is None else facts.subject().encode()

    def subject_local(self) -> bytes:
        facts = self._local()
        return b"" if facts is None else facts.subject().encode()

    def pem(self) -> bytes:
        facts = self._peer()
        return b"" if facts is None else facts.url_encoded_pem().encode()

    def pem_chain(self) -> bytes:
        chain = [certificate_facts(der) for der in self.ssl.peer_chain_der()]
        return "".join(each.url_encoded_pem() for each in chain if each is not None).encode()

    def parsed_subject(self) -> SubjectFacts | None:
        der = self.ssl.peer_certificate_der()
        return SubjectFacts(self.lua, der) if der else None

    def valid_from(self) -> int:
        facts = self._peer()
        return 0 if facts is None else facts.not_before_ns() // 1_000_000_000

    def expiration(self) -> int:
        facts = self._peer()
        return 0 if facts is None else facts.not_after_ns() // 1_000_000_000

    def session_id(self) -> bytes:
        return self.ssl.session_id().encode()

    def cipher_id(self) -> bytes:
        """Its number in the registry of TLS (RFC 8446 appendix B.4)."""
        return b"0x%04x" % _CIPHER_IDS.get(self.ssl.cipher(), 0xFFFF)

    def cipher(self) -> bytes:
        return self.ssl.cipher().encode()

    def version(self) -> bytes:
        return self.ssl.tls_version().encode()


class SubjectFacts:
    """`parsedSubjectPeerCertificate()`."""

    __slots__ = ("lua", "der")

    def __init__(self, lua: Any, der: bytes) -> None:
        self.lua = lua
        self.der = der

    def common_name(self) -> bytes:
        names = self._values("2.5.4.3")
        return names[0].encode() if names else b""

    def organization_name(self) -> object:
        return to_lua(self.lua, self._values("2.5.4.10"))

    def _values(self, oid: str) -> list[str]:
        from cryptography import x509  # loads slowly, and few scripts ask

        subject = x509.load_der_x509_certificate(self.der).subject
        return [str(each.value) for each in subject if each.oid.dotted_string == oid]


def _oids(der: bytes) -> list[str]:
    if not der:
        return []
    from cryptography import x509

    return [each.oid.dotted_string for each in x509.load_der_x509_certificate(der).extensions]
