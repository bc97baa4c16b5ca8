"""Status lines, ready made for every status. Phrases are Envoy's (observed with 1.40), unknown ones are `Unknown`."""

from __future__ import annotations

from typing import Final

REASONS: Final[dict[int, str]] = {
    100: "Continue", 101: "Switching Protocols",
    200: "OK", 201: "Created", 202: "Accepted", 203: "Non-Authoritative Information", 204: "No Content",
    205: "Reset Content", 206: "Partial Content", 207: "Multi-Status", 208: "Already Reported", 226: "IM Used",
    300: "Multiple Choices", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
    305: "Use Proxy", 307: "Temporary Redirect", 308: "Permanent Redirect",
    400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
    409: "Conflict", 410: "Gone", 411: "Length Required", 412: "Precondition Failed", 413: "Payload Too Large",
    414: "URI Too Long", 415: "Unsupported Media Type", 416: "Range Not Satisfiable", 417: "Expectation Failed",
    421: "Misdirected Request", 422: "Unprocessable Entity", 423: "Locked", 424: "Failed Dependency",
    425: "Too Early", 426: "Upgrade Required", 428: "Precondition Required", 429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout", 505: "HTTP Version Not Supported", 506: "Variant Also Negotiates",
    507: "Insufficient Storage", 508: "Loop Detected", 510: "Not Extended", 511: "Network Authentication Required",
    599: "Last Unassigned Server Error Code",
}  # fmt: skip


def reason_phrase(status: int) -> str:
    return REASONS.get(status, "Unknown")


LINES_11: Final[list[bytes]] = [f"HTTP/1.1 {code} {reason_phrase(code)}\r\n".encode() for code in range(1000)]
LINES_10: Final[list[bytes]] = [f"HTTP/1.0 {code} {reason_phrase(code)}\r\n".encode() for code in range(1000)]


def status_line(status: int, http10: bool, reason: bytes | None = None) -> bytes:
    """The line with its CRLF. `reason` replaces the standard phrase."""
    if reason is not None:
        return b"HTTP/1.%d %d %b\r\n" % (0 if http10 else 1, status, reason)
    if 0 <= status < 1000:
        return LINES_10[status] if http10 else LINES_11[status]
    return b"HTTP/1.%d %d Unknown\r\n" % (0 if http10 else 1, status)
