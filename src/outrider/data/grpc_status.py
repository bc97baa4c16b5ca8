"""gRPC status codes: names, and the mapping from and to HTTP status codes.

Source: gRPC documentation, "HTTP to gRPC status code mapping", "Statuscodes".
"""

from __future__ import annotations

from typing import Final

OK: Final = 0
CANCELLED: Final = 1
UNKNOWN: Final = 2
INVALID_ARGUMENT: Final = 3
DEADLINE_EXCEEDED: Final = 4
NOT_FOUND: Final = 5
ALREADY_EXISTS: Final = 6
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
FAILED_PRECONDITION: Final = 9
ABORTED: Final = 10
OUT_OF_RANGE: Final = 11
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAVAILABLE: Final = 14
DATA_LOSS: Final = 15
UNAUTHENTICATED: Final = 16
# A `grpc-status` field that is no number.
INVALID_CODE: Final = -1

CAMEL_NAMES: Final[list[str]] = [
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
    "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable",
    "DataLoss", "Unauthenticated",
]  # fmt: skip
SNAKE_NAMES: Final[list[str]] = [
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
]  # fmt: skip


def from_http_status(code: int) -> int:
    """The gRPC status that a client is to infer from an HTTP response that carries none."""
    if code == 400:
        return INTERNAL
    if code == 401:
        return UNAUTHENTICATED
    if code == 403:
        return PERMISSION_DENIED
    if code == 404:
        return UNIMPLEMENTED
    if code in (429, 502, 503, 504):
        return UNAVAILABLE
    return UNKNOWN


def to_http_status(status: int) -> int:
    """The HTTP status closest to a gRPC status."""
    if status == OK:
        return 200
    if status in (INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE):
        return 400
    if status == UNAUTHENTICATED:
        return 401
    if status == PERMISSION_DENIED:
        return 403
    if status == NOT_FOUND:
        return 404
    if status in (ALREADY_EXISTS, ABORTED):
        return 409
    if status == RESOURCE_EXHAUSTED:
        return 429
    if status == CANCELLED:
        return 499
    if status == UNIMPLEMENTED:
        return 501
    if status == UNAVAILABLE:
        return 503
    if status == DEADLINE_EXCEEDED:
        return 504
    return 500


def parse_status(value: bytes) -> int:
    """The number in a `grpc-status` field; INVALID_CODE where it is none."""
    return int(value) if value.isdigit() and len(value) < 20 else INVALID_CODE


def is_grpc_content_type(value: bytes) -> bool:
    """`application/grpc`, alone or with a `+subtype`; as in Envoy not with parameters."""
    if not value.startswith(b"application/grpc"):
        return False
    return len(value) == 16 or value[16] == 0x2B
