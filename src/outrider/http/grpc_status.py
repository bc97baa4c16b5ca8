"""gRPC on top of HTTP: who asked by gRPC, and what the proxy answers in its place.

Source: gRPC documentation, "gRPC over HTTP2", "Responses"; the codes themselves are in `outrider.data.grpc_status`.
"""

from __future__ import annotations

from outrider.data import grpc_status as codes
from outrider.data.header_map import ResponseHeaderMap
from outrider.data.header_names import CONTENT_TYPE, GRPC_STATUS


def is_grpc_content_type(value: bytes | None) -> bool:
    """Whether a request of this content type must get a gRPC response."""
    return value is not None and codes.is_grpc_content_type(value)


def is_grpc_response(headers: ResponseHeaderMap, end_stream: bool) -> bool:
    """Whether a response is gRPC; `end_stream`: it consists of these headers, which then hold the status."""
    if end_stream:
        return GRPC_STATUS in headers.single
    return headers.status == 200 and is_grpc_content_type(headers.single.get(CONTENT_TYPE))


def http_to_grpc_status(code: int) -> int:
    """The gRPC status for an HTTP status."""
    return codes.from_http_status(code)


def grpc_to_http_status(status: int) -> int:
    """The HTTP status for a gRPC status."""
    return codes.to_http_status(status)


def encode_grpc_message(message: bytes) -> bytes:
    """`grpc-message`: octets outside 0x20 to 0x7E, and `%`, percent-encoded."""
    for octet in message:
        if octet < 0x20 or octet > 0x7E or octet == 0x25:
            break
    else:
        return message
    encoded = bytearray()
    for octet in message:
        if 0x20 <= octet <= 0x7E and octet != 0x25:
            encoded.append(octet)
        else:
            encoded += b"%" + bytes([octet]).hex().upper().encode()
    return bytes(encoded)
