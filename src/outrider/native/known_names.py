"""Field names that the parsers know: kept as ready objects, and joined when repeated where Envoy joins them.

Envoy stores some names "inline": a second field of such a name is appended to the first with a comma (RFC 9110 section
5.3), while other names stay apart. Which ones was observed with Envoy 1.40.
"""

from __future__ import annotations

from typing import Final

_BOTH: Final = [
    b"cache-control", b"connection", b"content-encoding", b"content-length", b"content-type", b"keep-alive",
    b"proxy-connection", b"proxy-status", b"transfer-encoding", b"upgrade", b"via", b"x-envoy-attempt-count",
    b"x-envoy-decorator-operation", b"x-request-id",
]  # fmt: skip

REQUEST_JOINED: Final[frozenset[bytes]] = frozenset(
    [
        *_BOTH, b"accept", b"accept-encoding", b"access-control-request-headers", b"access-control-request-method",
        b"access-control-request-private-network", b"authentication", b"authorization", b"cdn-loop", b"expect",
        b"grpc-accept-encoding", b"grpc-timeout", b"host", b"if-match", b"if-modified-since", b"if-none-match",
        b"if-range", b"if-unmodified-since", b"origin", b"pragma", b"referer", b"te", b"user-agent",
        b"x-client-trace-id",
        b"x-envoy-downstream-service-cluster", b"x-envoy-downstream-service-node", b"x-envoy-expected-rq-timeout-ms",
        b"x-envoy-external-address", b"x-envoy-force-trace", b"x-envoy-hedge-on-per-try-timeout", b"x-envoy-internal",
        b"x-envoy-ip-tags", b"x-envoy-is-timeout-retry", b"x-envoy-max-retries", b"x-envoy-original-host",
        b"x-envoy-original-path", b"x-envoy-original-url", b"x-envoy-retriable-header-names",
        b"x-envoy-retriable-status-codes", b"x-envoy-retry-grpc-on", b"x-envoy-retry-on",
        b"x-envoy-upstream-alt-stat-name", b"x-envoy-upstream-rq-per-try-timeout-ms",
        b"x-envoy-upstream-rq-timeout-alt-response", b"x-envoy-upstream-rq-timeout-ms",
        b"x-envoy-upstream-stream-duration-ms", b"x-forwarded-client-cert", b"x-forwarded-for", b"x-forwarded-host",
        b"x-forwarded-port", b"x-forwarded-proto",
    ]
)  # fmt: skip

RESPONSE_JOINED: Final[frozenset[bytes]] = frozenset(
    [
        *_BOTH, b"access-control-allow-credentials", b"access-control-allow-headers", b"access-control-allow-methods",
        b"access-control-allow-origin", b"access-control-allow-private-network",
        b"access-control-expose-headers", b"access-control-max-age", b"age", b"date",
        b"etag", b"expires", b"grpc-message", b"grpc-status", b"last-modified", b"location", b"server", b"vary",
        b"x-envoy-degraded", b"x-envoy-immediate-health-check-fail", b"x-envoy-ratelimited",
        b"x-envoy-upstream-canary", b"x-envoy-upstream-healthchecked-cluster", b"x-envoy-upstream-service-time",
    ]
)  # fmt: skip

_OTHERS: Final = [
    b"accept-charset", b"accept-language", b"accept-ranges", b"allow", b"alt-svc", b"baggage", b"content-disposition",
    b"content-language", b"content-location", b"content-range", b"content-security-policy", b"cookie", b"dnt",
    b"forwarded", b"from", b"grpc-encoding", b"link", b"max-forwards", b"priority", b"proxy-authenticate",
    b"proxy-authorization", b"range", b"referrer-policy", b"retry-after", b"sec-ch-ua", b"sec-ch-ua-mobile",
    b"sec-ch-ua-platform", b"sec-fetch-dest", b"sec-fetch-mode", b"sec-fetch-site", b"sec-fetch-user",
    b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-key", b"sec-websocket-protocol",
    b"sec-websocket-version", b"set-cookie", b"strict-transport-security", b"traceparent", b"tracestate", b"trailer",
    b"upgrade-insecure-requests", b"warning", b"www-authenticate", b"x-b3-parentspanid", b"x-b3-sampled",
    b"x-b3-spanid", b"x-b3-traceid", b"x-content-type-options", b"x-frame-options", b"x-powered-by", b"x-real-ip",
    b"x-requested-with", b"x-xss-protection",
]  # fmt: skip

KNOWN_NAMES: Final[list[bytes]] = sorted({*REQUEST_JOINED, *RESPONSE_JOINED, *_OTHERS})

# RFC 9110 and the registry of methods, as far as Envoy takes them without `allow_custom_methods`.
METHODS: Final[list[bytes]] = [
    b"ACL", b"BIND", b"CHECKOUT", b"CONNECT", b"COPY", b"DELETE", b"GET", b"HEAD", b"LINK", b"LOCK", b"MERGE",
    b"MKACTIVITY", b"MKCALENDAR", b"MKCOL", b"MOVE", b"NOTIFY", b"OPTIONS", b"PATCH", b"POST", b"PROPFIND",
    b"PROPPATCH", b"PURGE", b"PUT", b"QUERY", b"REBIND", b"REPORT", b"SEARCH", b"SOURCE", b"SUBSCRIBE", b"TRACE",
    b"UNBIND", b"UNLINK", b"UNLOCK", b"UNSUBSCRIBE",
]  # fmt: skip
