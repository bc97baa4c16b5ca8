"""Raw HTTP/1 messages that proxies have got wrong, and what Envoy does with each.

The bytes are here; Envoy's answers are in `smuggling_envoy.json`, written by `envoy_recorder.py`. STRICTER names the
cases where we refuse what Envoy lets pass.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_PRESERVE_TYPE = (
    "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
)

# HttpConnectionManager options by listener kind.
LISTENERS: dict[str, dict[str, object]] = {
    "plain": {},
    "http10": {"http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "ten.example"}},
    "http10nohost": {"http_protocol_options": {"accept_http_10": True}},
    "chunklen": {"http_protocol_options": {"allow_chunked_length": True}},
    "trailers": {"http_protocol_options": {"enable_trailers": True}},
    "custom": {"http_protocol_options": {"allow_custom_methods": True}},
    "noabsolute": {"http_protocol_options": {"allow_absolute_url": False}},
    "streamerror": {"http_protocol_options": {"override_stream_error_on_invalid_http_message": True}},
    "rejectunder": {"common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"}},
    "dropunder": {"common_http_protocol_options": {"headers_with_underscores_action": "DROP_HEADER"}},
    "noh11upgrade": {"http_protocol_options": {"ignore_http_11_upgrade": [{"prefix": "TLS/"}]}},
    "small": {"max_request_headers_kb": 1, "common_http_protocol_options": {"max_headers_count": 5}},
    "proper": {"http_protocol_options": {"header_key_format": {"proper_case_words": {}}}},
    "preserve": {
        "http_protocol_options": {
            "header_key_format": {
                "stateful_formatter": {
                    "name": "preserve_case",
                    "typed_config": {
                        "@type": _PRESERVE_TYPE,
                        "forward_reason_phrase": True,
                    },
                }
            }
        }
    },
    "tlsscheme": {
        "http_protocol_options": {"enable_trailers": True},
        "scheme_header_transformation": {"scheme_to_overwrite": "http"},
    },
}

# Http1ProtocolOptions by cluster.
_PRESERVE = {
    "name": "preserve_case",
    "typed_config": {
        "@type": _PRESERVE_TYPE,
        "forward_reason_phrase": True,
    },
}
UPSTREAM_CLUSTERS: dict[str, dict[str, object]] = {
    "plain": {},
    "trailers": {"enable_trailers": True},
    "proper": {"header_key_format": {"proper_case_words": {}}},
    "preserve": {"header_key_format": {"stateful_formatter": _PRESERVE}},
    "full": {"send_fully_qualified_url": True},
    "chunklen": {"allow_chunked_length": True},
}


class Case:
    """One connection: the bytes sent (each part in its own segment), and for upstream cases what the upstream says."""

    def __init__(
        self,
        name: str,
        *parts: bytes,
        listener: str = "plain",
        cluster: str = "plain",
        answer: list[bytes] | None = None,
        close_after: bool = False,
    ) -> None:
        self.name = name
        self.parts = list(parts)
        self.listener = listener
        self.cluster = cluster
        self.answer = [] if answer is None else answer
        self.close_after = close_after

    def __repr__(self) -> str:
        return self.name


def _request(*lines: bytes, start: bytes = b"POST /p HTTP/1.1", body: bytes = b"") -> bytes:
    return b"\r\n".join([start, b"Host: a.example", *lines]) + b"\r\n\r\n" + body


_GET = b"GET /second HTTP/1.1\r\nHost: b.example\r\n\r\n"

CASES: list[Case] = [
    # Plain traffic, so that the table also says what must work.
    Case("ok-get", _request(start=b"GET / HTTP/1.1")),
    Case("ok-get-twice-pipelined", _request(start=b"GET / HTTP/1.1") + _GET),
    Case("ok-post-length", _request(b"Content-Length: 3", body=b"abc")),
    Case("ok-post-length-pipelined", _request(b"Content-Length: 3", body=b"abc") + _GET),
    Case("ok-post-chunked", _request(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n")),
    Case(
        "ok-post-chunked-parts", _request(b"Transfer-Encoding: chunked"), b"3\r\nabc\r\n", b"2\r\nde\r\n", b"0\r\n\r\n"
    ),
    Case("ok-post-chunked-pipelined", _request(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n") + _GET),
    Case("ok-post-no-framing", _request()),
    Case("ok-head", _request(start=b"HEAD / HTTP/1.1")),
    Case("ok-options-star", _request(start=b"OPTIONS * HTTP/1.1")),
    Case("ok-get-body", _request(b"Content-Length: 3", start=b"GET / HTTP/1.1", body=b"abc")),
    Case("ok-delete-no-body", _request(start=b"DELETE / HTTP/1.1")),
    Case("ok-expect-continue", _request(b"Expect: 100-continue", b"Content-Length: 3"), b"abc"),
    Case("ok-leading-crlf", b"\r\n" + _request(start=b"GET / HTTP/1.1")),
    Case("ok-leading-crlf-many", b"\r\n\r\n\r\n" + _request(start=b"GET / HTTP/1.1")),
    Case("ok-leading-lf", b"\n" + _request(start=b"GET / HTTP/1.1")),
    Case("ok-crlf-between", _request(start=b"GET / HTTP/1.1") + b"\r\n" + _GET),
    Case("ok-duplicate-field", _request(b"X-A: 1", b"X-A: 2", start=b"GET / HTTP/1.1")),
    Case("ok-empty-value", _request(b"X-A:", b"X-B: ", start=b"GET / HTTP/1.1")),
    Case("ok-value-whitespace", _request(b"X-A: \t b c \t", start=b"GET / HTTP/1.1")),
    Case("ok-obs-text", _request(b"X-A: caf\xe9", start=b"GET / HTTP/1.1")),
    Case("ok-tab-inside", _request(b"X-A: a\tb", start=b"GET / HTTP/1.1")),
    # Length and coding together.
    Case("cl-te", _request(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n") + _GET),
    Case("te-cl", _request(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n") + _GET),
    Case(
        "cl-te-allowed",
        _request(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n") + _GET,
        listener="chunklen",
    ),
    Case(
        "te-cl-allowed",
        _request(b"Transfer-Encoding: chunked", b"Content-Length: 99", body=b"3\r\nabc\r\n0\r\n\r\n"),
        listener="chunklen",
    ),
    Case("cl0-te", _request(b"Content-Length: 0", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    Case("cl-te-identity", _request(b"Content-Length: 3", b"Transfer-Encoding: identity", body=b"abc")),
    Case(
        "cl-te-identity-allowed",
        _request(b"Content-Length: 3", b"Transfer-Encoding: identity", body=b"abc"),
        listener="chunklen",
    ),
    Case(
        "cl-te-gzip-allowed",
        _request(b"Content-Length: 3", b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
        listener="chunklen",
    ),
    # Codings.
    Case("te-identity", _request(b"Transfer-Encoding: identity")),
    Case("te-gzip", _request(b"Transfer-Encoding: gzip")),
    Case("te-gzip-chunked", _request(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
    Case("te-chunked-gzip", _request(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n")),
    Case("te-chunked-chunked", _request(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n")),
    Case("te-twice", _request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    Case(
        "te-twice-identity", _request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n")
    ),
    Case(
        "te-twice-identity-first",
        _request(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    ),
    Case("te-xchunked", _request(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n")),
    Case("te-chunkedx", _request(b"Transfer-Encoding: chunkedx", body=b"0\r\n\r\n")),
    Case("te-upper", _request(b"TRANSFER-ENCODING: CHUNKED", body=b"0\r\n\r\n")),
    Case("te-empty", _request(b"Transfer-Encoding:")),
    Case("te-comma", _request(b"Transfer-Encoding: chunked,", body=b"0\r\n\r\n")),
    Case("te-comma-first", _request(b"Transfer-Encoding: ,chunked", body=b"0\r\n\r\n")),
    Case("te-quoted", _request(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n")),
    Case("te-param", _request(b"Transfer-Encoding: chunked;a=b", body=b"0\r\n\r\n")),
    Case("te-tab", _request(b"Transfer-Encoding:\tchunked", body=b"0\r\n\r\n")),
    Case("te-trailing-space", _request(b"Transfer-Encoding: chunked \t", body=b"0\r\n\r\n")),
    Case("te-vertical-tab", _request(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n")),
    Case("te-folded", _request(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n")),
    Case("te-space-before-colon", _request(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n")),
    Case("te-tab-before-colon", _request(b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n")),
    Case("te-http10", b"POST /p HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", listener="http10"),
    Case("te-get", _request(b"Transfer-Encoding: chunked", start=b"GET / HTTP/1.1", body=b"0\r\n\r\n")),
    # Content-Length.
    Case("cl-twice-same", _request(b"Content-Length: 3", b"Content-Length: 3", body=b"abc")),
    Case("cl-twice-other", _request(b"Content-Length: 3", b"Content-Length: 5", body=b"abcde")),
    Case("cl-list-same", _request(b"Content-Length: 3, 3", body=b"abc")),
    Case("cl-list-other", _request(b"Content-Length: 3, 5", body=b"abcde")),
    Case("cl-plus", _request(b"Content-Length: +3", body=b"abc")),
    Case("cl-minus", _request(b"Content-Length: -1")),
    Case("cl-hex", _request(b"Content-Length: 0x3", body=b"abc")),
    Case("cl-empty", _request(b"Content-Length:")),
    Case("cl-letter", _request(b"Content-Length: a")),
    Case("cl-trailing-letter", _request(b"Content-Length: 3a", body=b"abc")),
    Case("cl-space-inside", _request(b"Content-Length: 1 2", body=b"abc")),
    Case("cl-leading-zero", _request(b"Content-Length: 003", body=b"abc")),
    Case("cl-huge", _request(b"Content-Length: 18446744073709551616")),
    Case("cl-very-huge", _request(b"Content-Length: 99999999999999999999999999")),
    Case("cl-max", _request(b"Content-Length: 18446744073709551615")),
    Case("cl-decimal", _request(b"Content-Length: 3.0", body=b"abc")),
    Case("cl-space-before-colon", _request(b"Content-Length : 3", body=b"abc")),
    Case("cl-folded", _request(b"Content-Length:\r\n 3", body=b"abc")),
    Case("cl-underscore", _request(b"Content_Length: 3", body=b"")),
    Case("cl-zero-get", _request(b"Content-Length: 0", start=b"GET / HTTP/1.1")),
    # Chunks.
    Case("chunk-extension", _request(b"Transfer-Encoding: chunked", body=b"3;a=b\r\nabc\r\n0\r\n\r\n")),
    Case("chunk-extension-quoted", _request(b"Transfer-Encoding: chunked", body=b'3;a="b c"\r\nabc\r\n0\r\n\r\n')),
    Case("chunk-extension-bare-lf", _request(b"Transfer-Encoding: chunked", body=b"3;a\nabc\r\n0\r\n\r\n")),
    Case("chunk-extension-bare-cr", _request(b"Transfer-Encoding: chunked", body=b"3;a\rb\r\nabc\r\n0\r\n\r\n")),
    Case(
        "chunk-extension-long",
        _request(b"Transfer-Encoding: chunked", body=b"3;" + b"a" * 20000 + b"\r\nabc\r\n0\r\n\r\n"),
    ),
    Case("chunk-extension-space", _request(b"Transfer-Encoding: chunked", body=b"3 ;a\r\nabc\r\n0\r\n\r\n")),
    Case("chunk-size-space", _request(b"Transfer-Encoding: chunked", body=b"3 \r\nabc\r\n0\r\n\r\n")),
    Case("chunk-size-leading-space", _request(b"Transfer-Encoding: chunked", body=b" 3\r\nabc\r\n0\r\n\r\n")),
    Case("chunk-size-hex-prefix", _request(b"Transfer-Encoding: chunked", body=b"0x3\r\nabc\r\n0\r\n\r\n")),
    Case("chunk-size-minus", _request(b"Transfer-Encoding: chunked", body=b"-3\r\nabc\r\n0\r\n\r\n")),
    Case("chunk-size-plus", _request(b"Transfer-Encoding: chunked", body=b"+3\r\nabc\r\n0\r\n\r\n")),
    Case("chunk-size-empty", _request(b"Transfer-Encoding: chunked", body=b"\r\nabc\r\n0\r\n\r\n")),
    Case("chunk-size-letter", _request(b"Transfer-Encoding: chunked", body=b"g\r\nabc\r\n0\r\n\r\n")),
    Case("chunk-size-zeros", _request(b"Transfer-Encoding: chunked", body=b"0000000003\r\nabc\r\n000\r\n\r\n")),
    Case("chunk-size-upper", _request(b"Transfer-Encoding: chunked", body=b"A\r\n0123456789\r\n0\r\n\r\n")),
    Case("chunk-size-huge", _request(b"Transfer-Encoding: chunked", body=b"fffffffffffffffff\r\nabc\r\n")),
    Case("chunk-size-max", _request(b"Transfer-Encoding: chunked", body=b"ffffffffffffffff\r\nabc\r\n")),
    Case("chunk-bare-lf", _request(b"Transfer-Encoding: chunked", body=b"3\nabc\n0\n\n")),
    Case("chunk-size-bare-lf", _request(b"Transfer-Encoding: chunked", body=b"3\nabc\r\n0\r\n\r\n")),
    Case("chunk-size-bare-cr", _request(b"Transfer-Encoding: chunked", body=b"3\rabc\r\n0\r\n\r\n")),
    Case("chunk-data-bare-lf", _request(b"Transfer-Encoding: chunked", body=b"3\r\nabc\n0\r\n\r\n")),
    Case("chunk-data-long", _request(b"Transfer-Encoding: chunked", body=b"3\r\nabcd\r\n0\r\n\r\n")),
    Case("chunk-data-no-crlf", _request(b"Transfer-Encoding: chunked", body=b"3\r\nabc0\r\n\r\n")),
    Case("chunk-data-two-bytes", _request(b"Transfer-Encoding: chunked", body=b"3\r\nabcXX0\r\n\r\n")),
    Case("chunk-last-bare-lf", _request(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\n") + _GET),
    Case(
        "chunk-trailer-dropped", _request(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n") + _GET
    ),
    Case(
        "chunk-trailer",
        _request(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"),
        listener="trailers",
        cluster="trailers",
    ),
    Case(
        "chunk-trailer-framing",
        _request(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n"),
        listener="trailers",
        cluster="trailers",
    ),
    Case(
        "chunk-trailer-te",
        _request(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        listener="trailers",
        cluster="trailers",
    ),
    Case(
        "chunk-trailer-host",
        _request(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nHost: evil\r\n\r\n"),
        listener="trailers",
        cluster="trailers",
    ),
    Case(
        "chunk-trailer-bad-name",
        _request(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nX T: 1\r\n\r\n"),
        listener="trailers",
        cluster="trailers",
    ),
    Case(
        "chunk-trailer-bad-name-dropped",
        _request(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nX T: 1\r\n\r\n"),
    ),
    Case(
        "chunk-trailer-nul",
        _request(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nX-T: a\0b\r\n\r\n"),
        listener="trailers",
        cluster="trailers",
    ),
    # Line ends, folding, white space.
    Case("lf-only", b"GET / HTTP/1.1\nHost: a\n\n"),
    Case("lf-only-start-line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    Case("lf-only-header", b"GET / HTTP/1.1\r\nHost: a\nX-A: 1\r\n\r\n"),
    Case("lf-only-end", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    Case("cr-only", b"GET / HTTP/1.1\rHost: a\r\r"),
    Case("cr-in-value", _request(b"X-A: a\rb", start=b"GET / HTTP/1.1")),
    Case("cr-in-value-end", _request(b"X-A: a\r", start=b"GET / HTTP/1.1")),
    Case("cr-cr-lf", _request(b"X-A: a\r\r", start=b"GET / HTTP/1.1")),
    Case("nul-in-value", _request(b"X-A: a\0b", start=b"GET / HTTP/1.1")),
    Case("nul-in-name", _request(b"X\0A: a", start=b"GET / HTTP/1.1")),
    Case("control-in-value", _request(b"X-A: a\x01b", start=b"GET / HTTP/1.1")),
    Case("del-in-value", _request(b"X-A: a\x7fb", start=b"GET / HTTP/1.1")),
    Case("fold-space", _request(b"X-A: a\r\n b", start=b"GET / HTTP/1.1")),
    Case("fold-tab", _request(b"X-A: a\r\n\tb", start=b"GET / HTTP/1.1")),
    Case("fold-first-line", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    Case("fold-empty-line", b"GET / HTTP/1.1\r\nHost: a\r\n \r\nX: 1\r\n\r\n"),
    Case("fold-host", b"GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"),
    Case("space-before-colon", _request(b"X-A : a", start=b"GET / HTTP/1.1")),
    Case("space-in-name", _request(b"X A: a", start=b"GET / HTTP/1.1")),
    Case("space-before-name", b"GET / HTTP/1.1\r\nHost: a\r\n X-A: 1\r\n\r\n"),
    Case("no-colon", _request(b"X-A", start=b"GET / HTTP/1.1")),
    Case("empty-name", _request(b": a", start=b"GET / HTTP/1.1")),
    Case("name-paren", _request(b"X(A): a", start=b"GET / HTTP/1.1")),
    Case("name-utf8", _request("X-\u00e9: a".encode(), start=b"GET / HTTP/1.1")),
    Case("name-quote", _request(b'X"A: a', start=b"GET / HTTP/1.1")),
    Case("name-slash", _request(b"X/A: a", start=b"GET / HTTP/1.1")),
    Case("name-token-chars", _request(b"!#$%&'*+-.^_`|~: a", start=b"GET / HTTP/1.1")),
    Case("name-pseudo", _request(b":path: /evil", start=b"GET / HTTP/1.1")),
    Case("name-pseudo-authority", _request(b":authority: evil", start=b"GET / HTTP/1.1")),
    # Start line.
    Case("start-two-spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-two-spaces-version", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-leading-space", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-trailing-space", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    Case("start-tab", b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-space-in-target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-no-target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-no-version", b"GET /\r\nHost: a\r\n\r\n"),
    Case("start-http09", b"GET /\r\n\r\n"),
    Case("start-http09-accept10", b"GET /\r\n\r\n", listener="http10"),
    Case("start-http-0.9", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    Case("start-http-1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    Case("start-http-1.9", b"GET / HTTP/1.9\r\nHost: a\r\n\r\n"),
    Case("start-http-2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    Case("start-http-3.0", b"GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
    Case("start-http-11", b"GET / HTTP/11\r\nHost: a\r\n\r\n"),
    Case("start-http-1.10", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    Case("start-http-lower", b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    Case("start-httpx", b"GET / HTTPX/1.1\r\nHost: a\r\n\r\n"),
    Case("start-h2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Case("start-method-lower", b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-method-unknown", b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-method-query", b"QUERY / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-method-unknown-allowed", b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", listener="custom"),
    Case("start-method-bad-allowed", b"F(O / HTTP/1.1\r\nHost: a\r\n\r\n", listener="custom"),
    Case("start-method-lower-allowed", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", listener="custom"),
    Case("start-method-long-allowed", b"A" * 200 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", listener="custom"),
    Case("start-method-empty", b" / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-method-msearch", b"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    Case("start-target-fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-target-utf8", "GET /\u00e9 HTTP/1.1\r\nHost: a\r\n\r\n".encode()),
    Case("start-target-nul", b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-target-control", b"GET /a\x01b HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-target-del", b"GET /a\x7fb HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-target-quotes", b'GET /a"<>\\^`{|} HTTP/1.1\r\nHost: a\r\n\r\n'),
    Case("start-target-relative", b"GET foo HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-target-star", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-target-question", b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-target-double-slash", b"GET //evil/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("start-bare-cr", b"GET / HTTP/1.1\r\rHost: a\r\n\r\n"),
    Case("start-target-cr", b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
    # Absolute and authority form.
    Case("absolute", b"GET http://b.example/x?y HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-no-host", b"GET http://b.example/x HTTP/1.1\r\n\r\n"),
    Case("absolute-no-path", b"GET http://b.example HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-query-only", b"GET http://b.example?q HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-port", b"GET http://b.example:81/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-port-80", b"GET http://b.example:80/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-port-bad", b"GET http://b.example:x/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-port-big", b"GET http://b.example:99999/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-port-empty", b"GET http://b.example:/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-ipv6", b"GET http://[::1]:81/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-ipv6-bad", b"GET http://[::zz]/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-https", b"GET https://b.example/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-upper-scheme", b"GET HTTP://B.example/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-ftp", b"GET ftp://b.example/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-userinfo", b"GET http://u:p@b.example/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-fragment", b"GET http://b.example/x#f HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-no-authority", b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-mailto", b"GET mailto:a@b HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-space", b"GET http://b example/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("absolute-off", b"GET http://b.example/x HTTP/1.1\r\nHost: a\r\n\r\n", listener="noabsolute"),
    Case("relative-off", b"GET foo HTTP/1.1\r\nHost: a\r\n\r\n", listener="noabsolute"),
    Case("absolute-options", b"OPTIONS http://b.example HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("options-star-path", b"OPTIONS *foo HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("connect", b"CONNECT b.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"rawbytes"),
    Case("connect-early-data", b"CONNECT b.example:443 HTTP/1.1\r\nHost: a\r\n\r\nrawbytes"),
    Case("connect-no-port", b"CONNECT b.example HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("connect-absolute", b"CONNECT http://b.example:443/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("connect-path", b"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("connect-bad-port", b"CONNECT b.example:x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("connect-ipv6", b"CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("connect-length", b"CONNECT b.example:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
    Case("connect-length-0", b"CONNECT b.example:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nabc"),
    Case(
        "connect-chunked", b"CONNECT b.example:443 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    # Host.
    Case("host-missing", b"GET / HTTP/1.1\r\n\r\n"),
    Case("host-empty", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    Case("host-twice", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    Case("host-twice-same", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    Case("host-list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    Case("host-space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    Case("host-slash", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    Case("host-at", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    Case("host-underscore", b"GET / HTTP/1.1\r\nHost: a_b\r\n\r\n"),
    Case("host-utf8", "GET / HTTP/1.1\r\nHost: \u00e9\r\n\r\n".encode()),
    Case("host-quote", b'GET / HTTP/1.1\r\nHost: a"b\r\n\r\n'),
    Case("host-port-bad", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    Case("host-upper", b"GET / HTTP/1.1\r\nHost: A.Example\r\n\r\n"),
    Case("host-http10-missing", b"GET / HTTP/1.0\r\n\r\n"),
    # HTTP/1.0.
    Case("http10-refused", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"),
    Case("http10-get", b"GET / HTTP/1.0\r\n\r\n", listener="http10"),
    Case("http10-no-default-host", b"GET / HTTP/1.0\r\n\r\n", listener="http10nohost"),
    Case("http10-host", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", listener="http10"),
    Case("http10-keepalive", b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", listener="http10"),
    Case(
        "http10-keepalive-pipelined",
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" + _GET,
        listener="http10",
    ),
    Case("http10-post", b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", listener="http10"),
    Case("http10-post-no-length", b"POST / HTTP/1.0\r\nHost: a\r\n\r\nabc", listener="http10"),
    Case(
        "http10-upstream-chunked",
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        listener="http10",
        answer=[b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"],
    ),
    Case("http10-then-11", b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", _GET, listener="http10"),
    Case(
        "http10-upgrade", b"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n", listener="http10"
    ),
    # Connection options.
    Case("connection-close", _request(b"Connection: close", start=b"GET / HTTP/1.1")),
    Case("connection-close-pipelined", _request(b"Connection: close", start=b"GET / HTTP/1.1") + _GET),
    Case("connection-close-upper", _request(b"Connection: CLOSE", start=b"GET / HTTP/1.1")),
    Case("connection-close-list", _request(b"Connection: foo, close", b"Foo: 1", start=b"GET / HTTP/1.1")),
    Case("connection-keepalive-close", _request(b"Connection: keep-alive, close", start=b"GET / HTTP/1.1")),
    Case("connection-proxy-close", _request(b"Proxy-Connection: close", start=b"GET / HTTP/1.1")),
    Case(
        "connection-keepalive", _request(b"Connection: keep-alive", b"Keep-Alive: timeout=5", start=b"GET / HTTP/1.1")
    ),
    Case("connection-nominated", _request(b"Connection: x-a", b"X-A: 1", b"X-B: 2", start=b"GET / HTTP/1.1")),
    Case("connection-nominated-missing", _request(b"Connection: x-c", b"X-A: 1", start=b"GET / HTTP/1.1")),
    Case("connection-nominated-cookie", _request(b"Connection: cookie", b"Cookie: a=b", start=b"GET / HTTP/1.1")),
    Case("connection-nominated-host", _request(b"Connection: host", start=b"GET / HTTP/1.1")),
    Case("connection-nominated-authority", _request(b"Connection: :authority", start=b"GET / HTTP/1.1")),
    Case(
        "connection-nominated-xff",
        _request(b"Connection: x-forwarded-for", b"X-Forwarded-For: 1.2.3.4", start=b"GET / HTTP/1.1"),
    ),
    Case(
        "connection-nominated-xfh",
        _request(b"Connection: x-forwarded-host", b"X-Forwarded-Host: x", start=b"GET / HTTP/1.1"),
    ),
    Case(
        "connection-nominated-xfproto",
        _request(b"Connection: x-forwarded-proto", b"X-Forwarded-Proto: https", start=b"GET / HTTP/1.1"),
    ),
    Case(
        "connection-nominated-content-length",
        _request(b"Connection: content-length", b"Content-Length: 3", body=b"abc"),
    ),
    Case(
        "connection-nominated-te",
        _request(b"Connection: transfer-encoding", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    ),
    Case(
        "connection-nominated-content-type",
        _request(b"Connection: content-type", b"Content-Type: a/b", start=b"GET / HTTP/1.1"),
    ),
    Case("connection-nominated-upper", _request(b"Connection: X-A", b"X-a: 1", start=b"GET / HTTP/1.1")),
    Case(
        "connection-nominated-two",
        _request(b"Connection: x-a", b"Connection: x-b", b"X-A: 1", b"X-B: 2", start=b"GET / HTTP/1.1"),
    ),
    Case(
        "connection-nominated-spaces",
        _request(b"Connection: x-a , ,  x-b", b"X-A: 1", b"X-B: 2", start=b"GET / HTTP/1.1"),
    ),
    Case(
        "connection-nominated-many",
        _request(b"Connection: " + b",".join(b"x%d" % n for n in range(20)), start=b"GET / HTTP/1.1"),
    ),
    Case(
        "connection-nominated-12",
        _request(b"Connection: " + b",".join(b"x%d" % n for n in range(12)), b"x1: 1", start=b"GET / HTTP/1.1"),
    ),
    Case("connection-nominated-many-empty", _request(b"Connection: " + b"," * 30, start=b"GET / HTTP/1.1")),
    Case("connection-long", _request(b"Connection: " + b"x" * 300, start=b"GET / HTTP/1.1")),
    Case("connection-te", _request(b"Connection: te", b"TE: trailers", start=b"GET / HTTP/1.1")),
    Case("connection-te-gzip", _request(b"Connection: te", b"TE: gzip", start=b"GET / HTTP/1.1")),
    Case(
        "connection-te-both", _request(b"Connection: te, close", b"TE: gzip, trailers;q=0.5", start=b"GET / HTTP/1.1")
    ),
    Case("connection-te-absent", _request(b"Connection: te", start=b"GET / HTTP/1.1")),
    Case("connection-te-twice", _request(b"Connection: te", b"TE: trailers", b"TE: gzip", start=b"GET / HTTP/1.1")),
    Case("te-alone", _request(b"TE: trailers", start=b"GET / HTTP/1.1")),
    Case("te-alone-gzip", _request(b"TE: gzip", start=b"GET / HTTP/1.1")),
    # Upgrades.
    Case("upgrade", _request(b"Connection: Upgrade", b"Upgrade: foo", start=b"GET / HTTP/1.1"), b"rawbytes"),
    Case(
        "upgrade-early-data",
        _request(b"Connection: Upgrade", b"Upgrade: foo", start=b"GET / HTTP/1.1", body=b"rawbytes"),
    ),
    Case("upgrade-refused", _request(b"Connection: Upgrade", b"Upgrade: bar", start=b"GET / HTTP/1.1")),
    Case("upgrade-no-connection", _request(b"Upgrade: foo", start=b"GET / HTTP/1.1")),
    Case("upgrade-connection-only", _request(b"Connection: Upgrade", start=b"GET / HTTP/1.1")),
    Case("upgrade-length", _request(b"Connection: Upgrade", b"Upgrade: foo", b"Content-Length: 3", body=b"abc")),
    Case(
        "upgrade-chunked",
        _request(b"Connection: Upgrade", b"Upgrade: foo", b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n"),
    ),
    Case("upgrade-smuggle", _request(b"Connection: Upgrade", b"Upgrade: bar", start=b"GET / HTTP/1.1") + _GET),
    Case(
        "upgrade-h2c",
        _request(
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
            start=b"GET / HTTP/1.1",
        ),
    ),
    Case(
        "upgrade-h2c-keepalive",
        _request(
            b"Connection: keep-alive, Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AA",
            start=b"GET / HTTP/1.1",
        ),
    ),
    Case("upgrade-h2c-list", _request(b"Connection: Upgrade", b"Upgrade: h2c, foo", start=b"GET / HTTP/1.1")),
    Case(
        "upgrade-ignored",
        _request(b"Connection: Upgrade", b"Upgrade: TLS/1.0", start=b"GET / HTTP/1.1"),
        listener="noh11upgrade",
    ),
    Case(
        "upgrade-ignored-list",
        _request(b"Connection: keep-alive, Upgrade", b"Upgrade: TLS/1.0, foo", start=b"GET / HTTP/1.1"),
        listener="noh11upgrade",
    ),
    Case(
        "upgrade-ignored-post",
        _request(b"Connection: keep-alive, Upgrade", b"Upgrade: TLS/1.0", b"Content-Length: 3", body=b"abc"),
        listener="noh11upgrade",
    ),
    Case(
        "upgrade-ignored-other",
        _request(b"Connection: Upgrade", b"Upgrade: foo", start=b"GET / HTTP/1.1"),
        listener="noh11upgrade",
    ),
    # Underscores.
    Case("underscore-allow", _request(b"X_A: 1", start=b"GET / HTTP/1.1")),
    Case("underscore-reject", _request(b"X_A: 1", start=b"GET / HTTP/1.1"), listener="rejectunder"),
    Case("underscore-drop", _request(b"X_A: 1", b"X-B: 2", start=b"GET / HTTP/1.1"), listener="dropunder"),
    Case(
        "underscore-drop-length",
        _request(b"Content_Length: 5", b"X-B: 2", start=b"GET / HTTP/1.1"),
        listener="dropunder",
    ),
    # Limits.
    Case("limit-kb", _request(b"X-A: " + b"a" * 1100, start=b"GET / HTTP/1.1"), listener="small"),
    Case("limit-kb-target", b"GET /" + b"a" * 1100 + b" HTTP/1.1\r\nHost: a\r\n\r\n", listener="small"),
    Case("limit-kb-target-unfinished", b"GET /" + b"a" * 1100, listener="small"),
    Case("limit-kb-below", _request(b"X-A: " + b"a" * 930, start=b"GET / HTTP/1.1"), listener="small"),
    Case("limit-kb-edge-970", _request(b"X-A: " + b"a" * 970, start=b"GET / HTTP/1.1"), listener="small"),
    Case("limit-kb-edge-985", _request(b"X-A: " + b"a" * 985, start=b"GET / HTTP/1.1"), listener="small"),
    Case("limit-kb-edge-1000", _request(b"X-A: " + b"a" * 1000, start=b"GET / HTTP/1.1"), listener="small"),
    Case("limit-count", _request(*[b"X-%d: 1" % n for n in range(6)], start=b"GET / HTTP/1.1"), listener="small"),
    Case("limit-count-4", _request(*[b"X-%d: 1" % n for n in range(4)], start=b"GET / HTTP/1.1"), listener="small"),
    Case("limit-count-5", _request(*[b"X-%d: 1" % n for n in range(5)], start=b"GET / HTTP/1.1"), listener="small"),
    Case("limit-60k", _request(b"X-A: " + b"a" * 61500, start=b"GET / HTTP/1.1")),
    Case("limit-59k", _request(b"X-A: " + b"a" * 59500, start=b"GET / HTTP/1.1")),
    Case("limit-101", _request(*[b"X-%d: 1" % n for n in range(100)], start=b"GET / HTTP/1.1")),
    Case("limit-100", _request(*[b"X-%d: 1" % n for n in range(99)], start=b"GET / HTTP/1.1")),
    Case(
        "limit-trailer-kb",
        _request(b"Transfer-Encoding: chunked", body=b"0\r\nX-A: " + b"a" * 1100 + b"\r\n\r\n"),
        listener="small",
    ),
    # Errors after a message, errors in a body.
    Case("error-in-second", _request(start=b"GET / HTTP/1.1") + b"FOO\r\n\r\n"),
    Case("error-in-body", _request(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n"), b"zz\r\n"),
    Case("stream-error-method", b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", listener="streamerror"),
    Case("stream-error-host", b"GET / HTTP/1.1\r\n\r\n" + _GET, listener="streamerror"),
    Case("truncated-head", b"GET / HTTP/1.1\r\nHost: a\r\n"),
    Case("truncated-body", _request(b"Content-Length: 10", body=b"abc")),
    Case("body-longer-than-length", _request(b"Content-Length: 3", body=b"abcdef")),
    # Keys.
    Case(
        "key-proper",
        _request(b"X-my-HEADER: 1", b"x_y: 2", b"a.b-c: 3", b"DNT: 1", start=b"GET / HTTP/1.1"),
        listener="proper",
        cluster="proper",
    ),
    Case(
        "key-preserve",
        _request(b"X-my-HEADER: 1", b"FOO: 1", start=b"GET / HTTP/1.1"),
        listener="preserve",
        cluster="preserve",
        answer=[b"HTTP/1.1 200 Very Fine\r\nContent-LENGTH: 2\r\nX-UP: 1\r\nfoo-Bar: 3\r\n\r\nok"],
    ),
    Case(
        "key-preserve-twice",
        _request(b"X-A: 1", b"x-a: 2", b"X-a: 3", start=b"GET / HTTP/1.1"),
        listener="preserve",
        cluster="preserve",
    ),
    Case("key-full-url", _request(start=b"GET /x?y HTTP/1.1"), cluster="full"),
]

_G = _request(start=b"GET / HTTP/1.1")
_P = _request(b"Content-Length: 3", body=b"abc")


def _up(
    name: str,
    *answer: bytes,
    request: bytes = _G,
    close: bool = False,
    listener: str = "plain",
    cluster: str = "plain",
    parts: list[bytes] | None = None,
) -> Case:
    return Case(
        "up-" + name,
        *([request] if parts is None else parts),
        answer=list(answer),
        close_after=close,
        listener=listener,
        cluster=cluster,
    )


UPSTREAM_CASES: list[Case] = [
    _up("length", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    _up(
        "chunked-trailers-dropped",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n",
    ),
    _up(
        "chunked-trailers",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n",
        listener="trailers",
        cluster="trailers",
    ),
    _up("chunked-unfinished", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", close=True),
    _up("until-close", b"HTTP/1.1 200 OK\r\n\r\nhello", close=True),
    _up("until-close-10", b"HTTP/1.0 200 OK\r\n\r\nhello", close=True),
    _up("10-length", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("short-body", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", close=True),
    _up("short-body-no-data", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", close=True),
    _up("extra-bytes", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEXTRA"),
    _up(
        "extra-response",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
    ),
    _up(
        "extra-later",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
    ),
    _up("extra-crlf", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n"),
    _up("garbage", b"hello world\r\n\r\n"),
    _up("close-without-answer", b"", close=True),
    _up("close-in-head", b"HTTP/1.1 200 OK\r\nContent-Le", close=True),
    _up("cl-te", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    _up(
        "cl-te-allowed",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        cluster="chunklen",
    ),
    _up("cl-twice", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    _up("cl-twice-other", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\noks"),
    _up("cl-bad", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok"),
    _up("te-gzip", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", close=True),
    _up("te-gzip-chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    _up("te-identity", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok"),
    _up("te-identity-alone", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok", close=True),
    _up("204", b"HTTP/1.1 204 No Content\r\n\r\n"),
    _up("204-length-0", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
    _up("204-length", b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"),
    _up("204-chunked", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    _up("304", b"HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n"),
    _up("304-length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 20\r\n\r\n"),
    _up("304-chunked", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
    _up("205-body", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 2\r\n\r\nok"),
    _up("head-length", b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n", request=_request(start=b"HEAD / HTTP/1.1")),
    _up(
        "head-chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        request=_request(start=b"HEAD / HTTP/1.1"),
    ),
    _up("head-none", b"HTTP/1.1 200 OK\r\n\r\n", request=_request(start=b"HEAD / HTTP/1.1")),
    _up("head-body", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", request=_request(start=b"HEAD / HTTP/1.1")),
    _up("length-0", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    _up(
        "100-continue",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        request=_request(b"Expect: 100-continue", b"Content-Length: 3", body=b"abc"),
    ),
    _up("100-unasked", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("102", b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("103", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up(
        "103-length",
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    _up("104", b"HTTP/1.1 104 Upload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("199", b"HTTP/1.1 199 Odd\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("101-unasked", b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\nraw"),
    _up(
        "101-no-headers",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\nraw",
        parts=[_request(b"Connection: Upgrade", b"Upgrade: foo", start=b"GET / HTTP/1.1"), b"xyz"],
    ),
    _up(
        "101",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\nraw",
        parts=[_request(b"Connection: Upgrade", b"Upgrade: foo", start=b"GET / HTTP/1.1"), b"xyz"],
    ),
    _up(
        "upgrade-200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        parts=[_request(b"Connection: Upgrade", b"Upgrade: foo", start=b"GET / HTTP/1.1"), b"xyz"],
    ),
    _up(
        "upgrade-403",
        b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno",
        parts=[_request(b"Connection: Upgrade", b"Upgrade: foo", start=b"GET / HTTP/1.1"), b"xyz"],
    ),
    _up(
        "upgrade-200-upgrade",
        b"HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\nraw",
        parts=[_request(b"Connection: Upgrade", b"Upgrade: foo", start=b"GET / HTTP/1.1"), b"xyz"],
    ),
    _up(
        "connect-200",
        b"HTTP/1.1 200 OK\r\n\r\nraw",
        parts=[b"CONNECT b.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"xyz"],
    ),
    _up(
        "connect-200-length",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nraw",
        parts=[b"CONNECT b.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"xyz"],
    ),
    _up(
        "connect-200-chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nraw\r\n0\r\n\r\n",
        parts=[b"CONNECT b.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"xyz"],
    ),
    _up(
        "connect-403",
        b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno",
        parts=[b"CONNECT b.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"xyz"],
    ),
    _up(
        "connect-403-chunked",
        b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        parts=[b"CONNECT b.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"xyz"],
    ),
    _up("lf-only", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    _up("fold", b"HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
    _up("space-before-colon", b"HTTP/1.1 200 OK\r\nX-A : a\r\nContent-Length: 2\r\n\r\nok"),
    _up("space-in-name", b"HTTP/1.1 200 OK\r\nX A: a\r\nContent-Length: 2\r\n\r\nok"),
    _up("no-colon", b"HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 2\r\n\r\nok"),
    _up("nul", b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\nok"),
    _up("control", b"HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 2\r\n\r\nok"),
    _up("cr-in-value", b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 2\r\n\r\nok"),
    _up("underscore", b"HTTP/1.1 200 OK\r\nX_A: a\r\nContent-Length: 2\r\n\r\nok"),
    _up("no-reason", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
    _up("empty-reason", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
    _up("two-spaces", b"HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("reason-utf8", b"HTTP/1.1 200 caf\xe9\r\nContent-Length: 2\r\n\r\nok"),
    _up("status-2-digits", b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("status-4-digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("status-099", b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("status-600", b"HTTP/1.1 600 Odd\r\nContent-Length: 2\r\n\r\nok"),
    _up("status-999", b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok"),
    _up("status-letters", b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("version-2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("version-1.2", b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("version-0.9", b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("icy", b"ICY 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("lower", b"http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("leading-crlf", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    _up("connection-close", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
    _up("connection-nominated", b"HTTP/1.1 200 OK\r\nConnection: x-a\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok"),
    _up(
        "keep-alive-header",
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
    ),
    _up("proxy-connection", b"HTTP/1.1 200 OK\r\nProxy-Connection: close\r\nContent-Length: 2\r\n\r\nok"),
    _up(
        "upgrade-header-unasked",
        b"HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok",
    ),
    _up("chunk-extension", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\n\r\n"),
    _up("chunk-bare-lf", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n"),
    _up("chunk-bad-size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n"),
    _up("chunk-size-space", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n"),
    _up("chunk-bad-data", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n"),
    _up("head-60k", b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 62000 + b"\r\nContent-Length: 2\r\n\r\nok"),
    _up("head-81000", b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 81000 + b"\r\nContent-Length: 2\r\n\r\nok"),
    _up("head-82500", b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 82500 + b"\r\nContent-Length: 2\r\n\r\nok"),
    _up(
        "head-count",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(101)) + b"Content-Length: 2\r\n\r\nok",
    ),
    _up("set-cookie-twice", b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok"),
    _up("408-close", b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", close=True),
    _up("post-early-answer", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", request=_P),
]

_FOLDED = "RFC 9112 section 5.2: a server may refuse obsolete line folding"
_BARE = "RFC 9112 section 2.2: a lone LF or CR is a way to hide a line from one of two parsers"
_START = "RFC 9112 section 3: white space in the start line is a way to hide a target"
_CHUNK = "RFC 9112 section 7.1: junk behind chunk data shifts all that follows"
_TRAILER = "RFC 9110 section 6.5.1: framing fields are not allowed in trailers"

# Where we refuse what Envoy lets pass, and why.
STRICTER: dict[str, str] = {
    "te-folded": _FOLDED, "cl-folded": _FOLDED, "fold-space": _FOLDED, "fold-tab": _FOLDED,
    "fold-empty-line": _FOLDED, "fold-host": _FOLDED, "space-before-name": _FOLDED, "up-fold": _FOLDED,
    "lf-only": _BARE, "lf-only-start-line": _BARE, "lf-only-header": _BARE, "lf-only-end": _BARE, "cr-only": _BARE,
    "cr-in-value": _BARE, "cr-in-value-end": _BARE, "cr-cr-lf": _BARE, "chunk-last-bare-lf": _BARE,
    "up-lf-only": _BARE, "up-cr-in-value": _BARE,
    "start-trailing-space": _START, "start-tab": _START, "start-target-cr": _START, "up-two-spaces": _START,
    "chunk-data-bare-lf": _CHUNK, "chunk-data-long": _CHUNK, "up-chunk-bad-data": _CHUNK,
    "chunk-trailer-framing": _TRAILER, "chunk-trailer-te": _TRAILER,
    "body-longer-than-length": "garbage is refused at its first byte, not at the end of its line",
    "up-status-4-digits": "RFC 9110 section 15: a status has three digits",
}  # fmt: skip

_RECORD = Path(__file__).with_name("smuggling_envoy.json")


def envoy_answers() -> dict[str, Any]:
    """By case name: `response` and `upstream` (latin-1 text), `closed`, `log` lines in the recorder's format."""
    answers: dict[str, Any] = json.loads(_RECORD.read_text())
    return answers
