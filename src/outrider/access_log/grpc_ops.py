"""Operators that print the gRPC status: from trailers, else headers, else inferred from the HTTP status."""

from __future__ import annotations

from typing import Final

from outrider.access_log.context import FormatContext
from outrider.access_log.operation import NO_NUMBER, FormatOp, NumberOp
from outrider.access_log.syntax import PARAMS_OPTIONAL, CommandTable, FormatError
from outrider.data.grpc_status import CAMEL_NAMES, SNAKE_NAMES, from_http_status, is_grpc_content_type, parse_status
from outrider.data.header_map import HeaderMap
from outrider.data.header_names import CONTENT_TYPE, GRPC_STATUS


def _status_in(headers: HeaderMap | None) -> int:
    if headers is None:
        return NO_NUMBER
    value = headers.get(GRPC_STATUS)
    return NO_NUMBER if value is None or not value else parse_status(value)


def response_status(context: FormatContext) -> int:
    """The gRPC status of the response, whoever asked; NO_NUMBER without a response."""
    status = _status_in(context.response_trailers)
    if status == NO_NUMBER:
        status = _status_in(context.response_headers)
    if status == NO_NUMBER:
        code = context.stream_info.response_code
        if code:
            status = from_http_status(code)
    return status


class GrpcStatusNumberOp(NumberOp):
    """%GRPC_STATUS_NUMBER%: for gRPC requests only."""

    def number(self, context: FormatContext) -> int:
        headers = context.request_headers
        if headers is None:
            return NO_NUMBER
        content_type = headers.get(CONTENT_TYPE)
        if content_type is None or not is_grpc_content_type(content_type):
            return NO_NUMBER
        return response_status(context)


class GrpcStatusOp(GrpcStatusNumberOp):
    """%GRPC_STATUS(CAMEL_STRING|SNAKE_STRING)%: codes without a name print as numbers."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def text(self, context: FormatContext) -> bytes | None:
        status = self.number(context)
        if status == NO_NUMBER:
            return None
        names = self.names
        return names[status].encode() if 0 <= status < len(names) else str(status).encode()

    def value(self, context: FormatContext) -> object:
        return self.text(context)


def _grpc_status(argument: str, length: int | None) -> FormatOp:
    if argument in ("", "CAMEL_STRING"):
        return GrpcStatusOp(CAMEL_NAMES)
    if argument == "SNAKE_STRING":
        return GrpcStatusOp(SNAKE_NAMES)
    if argument == "NUMBER":
        return GrpcStatusNumberOp()
    raise FormatError(f"GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: {argument}")


PLAIN: Final[dict[str, FormatOp]] = {"GRPC_STATUS_NUMBER": GrpcStatusNumberOp()}

COMMANDS: Final[CommandTable] = {"GRPC_STATUS": (PARAMS_OPTIONAL, _grpc_status)}
