"""The header rules of the HTTP connection manager: what it changes in requests and responses that pass.

Source: Envoy documentation, "HTTP header manipulation: HTTP headers"; observed with Envoy 1.40.
"""

from __future__ import annotations

from time import gmtime, time
from typing import Final

from outrider.access_log.context import FormatContext
from outrider.data.address import KIND_IP, Address
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import (
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    FORWARDED_CLIENT_CERT,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    REFERER,
    SERVER,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    USER_AGENT,
    VIA,
    X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER,
    X_ENVOY_DOWNSTREAM_SERVICE_NODE,
    X_ENVOY_EXTERNAL_ADDRESS,
    X_ENVOY_FORCE_TRACE,
    X_ENVOY_INTERNAL,
    X_FORWARDED_FOR,
    X_FORWARDED_PORT,
    X_FORWARDED_PROTO,
    X_REQUEST_ID,
)
from outrider.data.stream_info import StreamInfo
from outrider.http.conn_manager_settings import HeaderRules, Rejection
from outrider.http.conn_manager_stats import HcmStats
from outrider.http.forwarded import InternalAddressConfig, OriginalIpDetection, last_address_from_xff
from outrider.http.header_mutation import HeaderMutations
from outrider.http.path_normalization import (
    KEEP_UNCHANGED,
    REJECT_REQUEST,
    UNESCAPE_AND_REDIRECT,
    merge_slashes,
    normalize_path,
    unescape_slashes,
)
from outrider.http.referer import is_valid_referer
from outrider.http.request_id import REQUEST_IDS, trace_reason
from outrider.http.xfcc import ClientCertRules
from outrider.matching.cidr import CidrList

SERVER_OVERWRITE: Final = 0
SERVER_APPEND_IF_ABSENT: Final = 1
SERVER_PASS_THROUGH: Final = 2

_HASH: Final = 0x23
HTTP: Final = b"http"
HTTPS: Final = b"https"
_LOOPBACK: Final = ("127.0.0.1", "::1")

# Never forwarded, whoever the client is.
_HOP_BY_HOP: Final = frozenset([X_ENVOY_INTERNAL, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING])
# Believed only from inside: they steer the router.
_INTERNAL_ONLY: Final = frozenset(
    [
        b"x-envoy-retriable-status-codes", b"x-envoy-retriable-header-names", b"x-envoy-retry-on",
        b"x-envoy-retry-grpc-on", b"x-envoy-max-retries", b"x-envoy-upstream-alt-stat-name",
        b"x-envoy-upstream-rq-timeout-ms", b"x-envoy-upstream-rq-per-try-timeout-ms",
        b"x-envoy-upstream-rq-timeout-alt-response", b"x-envoy-expected-rq-timeout-ms", b"x-envoy-force-trace",
        b"x-envoy-ip-tags", b"x-envoy-original-url", b"x-envoy-hedge-on-per-try-timeout",
    ]
)
# Taken from edge requests as well.
_EDGE_ONLY: Final = frozenset(
    [
        b"x-envoy-decorator-operation", b"x-envoy-downstream-service-cluster", b"x-envoy-downstream-service-node",
        b"x-envoy-original-path", b"x-envoy-original-host",
    ]
)
_ALL_EDGE: Final = _INTERNAL_ONLY | _EDGE_ONLY

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class DateProvider:
    """The `date` field (RFC 9110 section 5.6.7), formatted once a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second: int = -1
        self._text: bytes = b""

    def date(self) -> bytes:
        second = int(time())
        if second != self._second:
            self._second = second
            self._text = http_date(second)
        return self._text


def http_date(second: int) -> bytes:
    """IMF-fixdate of a Unix time."""
    t = gmtime(second)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02d} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04d} "
        f"{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} GMT"
    ).encode("ascii")


DATES: Final = DateProvider()


class ConnManagerHeaderRules(HeaderRules):
    """See the module. Attributes are the fields of the configuration."""

    def __init__(self, stats: HcmStats) -> None:
        self.stats = stats
        self.use_remote_address: bool = False
        self.xff_num_trusted_hops: int = 0
        self.skip_xff_append: bool = False
        self.append_x_forwarded_port: bool = False
        self.represent_ipv4_as_mapped_ipv6: bool = False
        self.detections: list[OriginalIpDetection] = []
        self.internal_addresses: InternalAddressConfig = InternalAddressConfig(False, CidrList([]))
        self.local_address: bytes = b"127.0.0.1"
        self.add_user_agent: bool = False
        self.service_cluster: bytes = b""
        self.service_node: bytes = b""
        self.via: bytes = b""
        self.server_name: bytes = b"envoy"
        self.server_transformation: int = SERVER_OVERWRITE
        # b"" keeps the scheme that x-forwarded-proto tells.
        self.scheme_to_overwrite: bytes = b""
        self.scheme_match_upstream: bool = False
        self.generate_request_id: bool = True
        self.preserve_external_request_id: bool = False
        self.always_set_request_id_in_response: bool = False
        self.pack_trace_reason: bool = True
        # Whether the id decides who is traced; for tracing, which comes later.
        self.use_request_id_for_trace_sampling: bool = True
        self.normalize_path: bool = False
        self.merge_slashes: bool = False
        self.escaped_slashes: int = KEEP_UNCHANGED
        self.strip_matching_host_port: bool = False
        self.strip_any_host_port: bool = False
        self.strip_trailing_host_dot: bool = False
        # None: listener without a port (pipe).
        self.early_mutations: list[HeaderMutations] = []
        self.internal_only_headers: list[bytes] = []
        self.client_cert: ClientCertRules = ClientCertRules()
        self.touch_path: bool = False
        self.touch_host: bool = False

    def finish(self) -> None:
        """All fields are set: note which stages there are to run."""
        self.touch_path = self.normalize_path or self.merge_slashes or self.escaped_slashes != KEEP_UNCHANGED
        self.touch_host = self.strip_matching_host_port or self.strip_any_host_port or self.strip_trailing_host_dot

    # --- requests ---

    def mutate_request(self, headers: RequestHeaderMap, info: StreamInfo) -> Rejection | None:
        if _HASH in headers.path:
            # A fragment is no part of a request target (RFC 9112 section 3.2).
            self.stats.rq_failed_path_normalization.inc()
            return Rejection(400, "", "path_normalization_failed")
        if self.touch_path and headers.path:
            rejection = self._normalize_path(headers)
            if rejection is not None:
                return rejection
        if self.touch_host:
            self._strip_host(headers, info)
        if self.early_mutations:
            context = FormatContext(info, headers)
            for mutations in self.early_mutations:
                mutations.evaluate_headers(headers, context)
        single = headers.single
        self._clean_hop_by_hop(headers)
        connection = info.connection
        secure = connection.ssl is not None
        remote = connection.direct_remote_address
        final = remote
        trusted = False
        if self.use_remote_address:
            final = connection.remote_address
            remote = final
            # Whoever names others is a proxy himself: the request comes from outside.
            trusted = X_FORWARDED_FOR not in single
            hops = self.xff_num_trusted_hops
            if hops > 0:
                found, _ = last_address_from_xff(headers, hops - 1)
                if found is not None:
                    final = found
            if not self.skip_xff_append and remote.kind == KIND_IP:
                headers.append(
                    X_FORWARDED_FOR, self.local_address if remote.host in _LOOPBACK else remote.host_bytes
                )
            if hops == 0 or X_FORWARDED_PROTO not in single:
                headers.set(X_FORWARDED_PROTO, HTTPS if secure else HTTP)
            if self.append_x_forwarded_port and (hops == 0 or X_FORWARDED_PORT not in single):
                _set_forwarded_port(headers, connection.local_address)
        else:
            remote = connection.remote_address
            final = remote
            for detection in self.detections:
                detected = detection.detect(headers, remote)
                if detected is None:
                    continue
                if detected.reject:
                    self.stats.rq_rejected_via_ip_detection.inc()
                    return Rejection(detected.reject_code, "", detected.reject_details)
                if detected.address is not None:
                    final = detected.address
                    trusted = detected.allow_trusted_checks
                    if not detected.skip_xff_append and remote.kind == KIND_IP:
                        headers.append(X_FORWARDED_FOR, remote.host_bytes)
                    break
            if X_FORWARDED_PROTO not in single:
                single[X_FORWARDED_PROTO] = HTTPS if secure else HTTP
            if self.append_x_forwarded_port and X_FORWARDED_PORT not in single:
                _set_forwarded_port(headers, connection.local_address)
        if final is not connection.remote_address:
            connection = info.own_connection()
            connection.remote_address = final
        self._set_scheme(headers, info, secure)
        internal = trusted and self.internal_addresses.is_internal(final)
        edge = not internal and self.use_remote_address
        if internal:
            single[X_ENVOY_INTERNAL] = b"true"
        else:
            suspects = _ALL_EDGE if edge else _INTERNAL_ONLY
            if not suspects.isdisjoint(single):
                for name in suspects:
                    headers.remove(name)
            for name in self.internal_only_headers:
                headers.remove(name)
        if self.add_user_agent:
            headers.set(X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER, self.service_cluster)
            if not single.get(USER_AGENT):
                headers.set(USER_AGENT, self.service_cluster)
            if self.service_node:
                headers.set(X_ENVOY_DOWNSTREAM_SERVICE_NODE, self.service_node)
        if self.via:
            headers.append(VIA, self.via, b", ")
        if edge and final.kind == KIND_IP:
            headers.set(X_ENVOY_EXTERNAL_ADDRESS, final.host_bytes)
        if self.generate_request_id:
            request_id = single.get(X_REQUEST_ID)
            if request_id is None or not request_id or (edge and not self.preserve_external_request_id):
                request_id = REQUEST_IDS.next()
                headers.set(X_REQUEST_ID, request_id)
            if self.pack_trace_reason:
                info.trace_reason = trace_reason(request_id)
        if self.client_cert.active or FORWARDED_CLIENT_CERT in single:
            self.client_cert.mutate(headers, connection)
        return None

    def _clean_hop_by_hop(self, headers: RequestHeaderMap) -> None:
        """RFC 9110 section 7.6.1: what concerns this hop only stays here."""
        single = headers.single
        # An upgrade is forwarded as it is.
        if not (UPGRADE in single and CONNECTION in single and b"upgrade" in single[CONNECTION].lower()):
            # The fields that it nominates have been taken away by the codec.
            if CONNECTION in single:
                headers.remove(CONNECTION)
            if UPGRADE in single:
                headers.remove(UPGRADE)
            te = headers.get_joined(TE)
            if te is not None:
                # RFC 9110 section 10.1.4: only "trailers" may pass a gateway.
                if _lists(te, b"trailers"):
                    headers.set(TE, b"trailers")
                else:
                    headers.remove(TE)
        if not _HOP_BY_HOP.isdisjoint(single):
            for name in _HOP_BY_HOP:
                headers.remove(name)
        referer = single.get(REFERER)
        if referer is not None and (
            (headers.multi is not None and REFERER in headers.multi) or not is_valid_referer(referer)
        ):
            headers.remove(REFERER)

    def _set_scheme(self, headers: RequestHeaderMap, info: StreamInfo, secure: bool) -> None:
        if self.scheme_to_overwrite:
            headers.scheme = self.scheme_to_overwrite
            headers.set(X_FORWARDED_PROTO, self.scheme_to_overwrite)
        elif not headers.scheme:
            told = headers.single.get(X_FORWARDED_PROTO, b"")
            headers.scheme = told if told in (HTTP, HTTPS) else (HTTPS if secure else HTTP)
        if self.scheme_match_upstream:
            info.scheme_match_upstream = True

    def _normalize_path(self, headers: RequestHeaderMap) -> Rejection | None:
        path = headers.path
        redirect = False
        action = self.escaped_slashes
        if action != KEEP_UNCHANGED:
            plain = unescape_slashes(path)
            if plain != path:
                if action == REJECT_REQUEST:
                    # The log shows it so.
                    headers.path = plain
                    self.stats.rq_failed_path_normalization.inc()
                    return Rejection(400, "", "path_normalization_failed")
                redirect = action == UNESCAPE_AND_REDIRECT
                path = plain
        if self.normalize_path:
            normal = normalize_path(path)
            if normal is None:
                self.stats.rq_failed_path_normalization.inc()
                return Rejection(400, "", "path_normalization_failed")
            path = normal
        if self.merge_slashes:
            path = merge_slashes(path)
        if path != headers.path:
            headers.path = path
            if redirect:
                self.stats.rq_redirected_with_normalized_path.inc()
                return Rejection(307, "", "path_normalization_failed", path)
        return None

    def _strip_host(self, headers: RequestHeaderMap, info: StreamInfo) -> None:
        host = headers.authority
        if self.strip_trailing_host_dot:
            host = _strip_dot(host)
        if headers.method != b"CONNECT":
            colon = host.rfind(b":")
            if colon >= 0 and host.find(b"]", colon) < 0 and host[colon + 1 :].isdigit():
                if self.strip_any_host_port:
                    host = host[:colon]
                elif self.strip_matching_host_port:
                    local = info.connection.local_address
                    if local.kind == KIND_IP and int(host[colon + 1 :]) == local.port:
                        host = host[:colon]
        headers.authority = host

    # --- responses ---

    def mutate_response(
        self, request_headers: RequestHeaderMap | None, headers: ResponseHeaderMap, info: StreamInfo
    ) -> None:
        single = headers.single
        status = headers.status
        upgrade = UPGRADE in single and request_headers is not None and UPGRADE in request_headers.single
        if not upgrade:
            if CONNECTION in single:
                headers.remove(CONNECTION)
            if UPGRADE in single:
                headers.remove(UPGRADE)
        elif status >= 200 and TRANSFER_ENCODING not in single and CONTENT_LENGTH not in single:
            single[CONTENT_LENGTH] = b"0"
        if not _HOP_BY_HOP.isdisjoint(single):
            headers.remove(TRANSFER_ENCODING)
            headers.remove(KEEP_ALIVE)
            headers.remove(PROXY_CONNECTION)
        if status >= 200 or status == 101:
            if DATE not in single:
                single[DATE] = DATES.date()
            transformation = self.server_transformation
            if transformation == SERVER_OVERWRITE:
                if headers.multi is not None:
                    headers.set(SERVER, self.server_name)
                else:
                    single[SERVER] = self.server_name
            elif transformation == SERVER_APPEND_IF_ABSENT and SERVER not in single:
                single[SERVER] = self.server_name
        if request_headers is not None:
            if self.always_set_request_id_in_response or X_ENVOY_FORCE_TRACE in request_headers.single:
                request_id = request_headers.single.get(X_REQUEST_ID)
                if request_id is not None:
                    headers.set(X_REQUEST_ID, request_id)
        if self.via:
            headers.append(VIA, self.via, b", ")

    def mutate_response_trailers(self, trailers: HeaderMap) -> None:
        """Nothing is hop-by-hop in trailers that the codec lets pass."""


def _lists(value: bytes, token: bytes) -> bool:
    for part in value.split(b","):
        if part.split(b";", 1)[0].strip().lower() == token:
            return True
    return False


def _strip_dot(host: bytes) -> bytes:
    """`a.com.` and `a.com.:80` lose the dot of the root."""
    if host.endswith(b"."):
        return host[:-1]
    colon = host.rfind(b":")
    if colon > 0 and host[colon - 1 : colon] == b"." and host.find(b"]", colon) < 0:
        return host[: colon - 1] + host[colon:]
    return host


def _set_forwarded_port(headers: RequestHeaderMap, local: Address) -> None:
    if local.kind == KIND_IP:
        headers.set(X_FORWARDED_PORT, b"%d" % local.port)
