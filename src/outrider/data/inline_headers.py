"""Fields of which Envoy keeps one value only: further ones are joined to it by a comma.

They are the fields that Envoy's header map stores in fixed slots. Whoever receives or adds such a field twice makes one
field of it (RFC 9110 section 5.3 allows that); all others stay apart.
"""

from __future__ import annotations

from typing import Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap

_BOTH: Final = (
    b"cache-control", b"connection", b"content-encoding", b"content-length", b"content-type", b"keep-alive",
    b"proxy-connection", b"proxy-status", b"transfer-encoding", b"upgrade", b"via", b"x-envoy-attempt-count",
    b"x-envoy-decorator-operation", b"x-request-id",
)  # fmt: skip

REQUEST_INLINE: Final[frozenset[bytes]] = frozenset((
    *_BOTH, b"accept", b"accept-encoding", b"access-control-request-headers", b"access-control-request-method",
    b"access-control-request-private-network", b"authentication", b"authorization", b"cdn-loop", b"expect",
    b"grpc-accept-encoding", b"grpc-timeout", b"if-match", b"if-modified-since", b"if-none-match", b"if-range",
    b"if-unmodified-since", b"origin", b"pragma", b"referer", b"te", b"user-agent", b"x-client-trace-id",
    b"x-envoy-downstream-service-cluster", b"x-envoy-downstream-service-node", b"x-envoy-expected-rq-timeout-ms",
    b"x-envoy-external-address", b"x-envoy-force-trace", b"x-envoy-hedge-on-per-try-timeout", b"x-envoy-internal",
    b"x-envoy-ip-tags", b"x-envoy-is-timeout-retry", b"x-envoy-max-retries", b"x-envoy-original-host",
    b"x-envoy-original-path", b"x-envoy-original-url", b"x-envoy-retriable-header-names",
    b"x-envoy-retriable-status-codes", b"x-envoy-retry-grpc-on", b"x-envoy-retry-on", b"x-envoy-upstream-alt-stat-name",
    b"x-envoy-upstream-rq-per-try-timeout-ms", b"x-envoy-upstream-rq-timeout-alt-response",
    b"x-envoy-upstream-rq-timeout-ms", b"x-envoy-upstream-stream-duration-ms", b"x-forwarded-client-cert",
    b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto",
))  # fmt: skip

RESPONSE_INLINE: Final[frozenset[bytes]] = frozenset((
    *_BOTH, b"access-control-allow-credentials", b"access-control-allow-headers", b"access-control-allow-methods",
    b"access-control-allow-origin", b"access-control-allow-private-network", b"access-control-expose-headers",
    b"access-control-max-age", b"age", b"date", b"etag", b"expires", b"grpc-message", b"grpc-status", b"last-modified",
    b"location", b"server", b"vary", b"x-envoy-degraded", b"x-envoy-immediate-health-check-fail",
    b"x-envoy-ratelimited", b"x-envoy-upstream-canary", b"x-envoy-upstream-healthchecked-cluster",
    b"x-envoy-upstream-service-time",
))  # fmt: skip


def add_field(headers: HeaderMap, name: bytes, value: bytes) -> None:
    """Add a value the way Envoy does: joined to the one that is there, or beside it."""
    if headers.get(name) is None:
        headers.add(name, value)
    elif is_inline(headers, name):
        headers.append(name, value)
    else:
        headers.add(name, value)


def is_inline(headers: HeaderMap, name: bytes) -> bool:
    """Whether a map of this kind keeps one value of `name`."""
    if isinstance(headers, RequestHeaderMap):
        return name in REQUEST_INLINE
    return isinstance(headers, ResponseHeaderMap) and name in RESPONSE_INLINE
