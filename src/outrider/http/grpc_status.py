"""gRPC on top of HTTP: who asked by gRPC, and what the proxy answers in its place.

Source: gRPC documentation, "gRPC over HTTP2", "Responses"; status codes themselves are in `outrider.data.grpc_status`.
"""

from __future__ import annotations

from outrider.data.grpc_status import from_http_status, is_grpc_content_type
from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_TYPE, GRPC_MESSAGE, GRPC_STATUS


def is_grpc_request(headers: RequestHeaderMap) -> bool:
    """Whether a response must be a gRPC one."""
    value = headers.get(CONTENT_TYPE)
    return value is not None and is_grpc_content_type(value)


def encode_message(message: bytes) -> bytes:
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
            encoded += b"%%%02X" % octet
    return bytes(encoded)


def set_local_reply(headers: ResponseHeaderMap, code: int, grpc_status: int, body: bytes) -> None:
    """Turn the header section of a local reply into a trailers-only gRPC response: status 200, the rest in fields.

    `grpc_status` below 0 means that the HTTP code decides.
    """
    headers.status = 200
    headers.set(CONTENT_TYPE, b"application/grpc")
    headers.set(GRPC_STATUS, b"%d" % (grpc_status if grpc_status >= 0 else from_http_status(code)))
    if body:
        headers.set(GRPC_MESSAGE, encode_message(body))
