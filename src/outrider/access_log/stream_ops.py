"""Operators that print names, flags and reasons of the stream."""

from __future__ import annotations

import os
import re
import socket
import uuid
from typing import Final

from outrider.access_log.context import FormatContext
from outrider.access_log.operation import ConstantOp, FormatOp, StringOp
from outrider.access_log.syntax import LENGTH_ALLOWED, PARAMS_OPTIONAL, PARAMS_REQUIRED, CommandTable
from outrider.data.header_names import X_REQUEST_ID
from outrider.data.response_flag import long_text, short_text
from outrider.data.stream_info import PROTOCOL_TEXT

_SPACE: Final = re.compile(r"\s")
_PROTOCOL_BYTES: Final[list[bytes]] = [name.encode() for name in PROTOCOL_TEXT]

_ROUTE_NAME: Final = 0
_VIRTUAL_CLUSTER: Final = 1
_TERMINATION_DETAILS: Final = 2
_FILTER_CHAIN: Final = 3
_LISTENER: Final = 4
_TRACE_ID: Final = 6
_SPAN_ID: Final = 7
_JA3: Final = 8
_JA4: Final = 9
_LOCAL_CLOSE: Final = 10
_DETECTED_CLOSE: Final = 11


def without_spaces(text: str) -> str:
    """White space replaced by underscores, so that a reason stays one word of the line."""
    return _SPACE.sub("_", text)


class ProtocolOp(FormatOp):
    """%PROTOCOL%."""

    def text(self, context: FormatContext) -> bytes | None:
        protocol = context.stream_info.protocol
        return _PROTOCOL_BYTES[protocol] if protocol >= 0 else None


class ResponseFlagsOp(FormatOp):
    """%RESPONSE_FLAGS%: `-` when there is none, also in JSON."""

    def text(self, context: FormatContext) -> bytes | None:
        flags = context.stream_info.response_flags
        return short_text(flags).encode() if flags else b"-"


class ResponseFlagsLongOp(FormatOp):
    """%RESPONSE_FLAGS_LONG%."""

    def text(self, context: FormatContext) -> bytes | None:
        flags = context.stream_info.response_flags
        return long_text(flags).encode() if flags else b"-"


class ResponseCodeDetailsOp(StringOp):
    """%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%."""

    def __init__(self, allow_spaces: bool) -> None:
        self.allow_spaces = allow_spaces

    def string(self, context: FormatContext) -> str:
        details = context.stream_info.response_code_details
        return details if self.allow_spaces or not details else without_spaces(details)


class StreamTextOp(StringOp):
    """Names and reasons that are empty while unknown."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def string(self, context: FormatContext) -> str:
        kind = self.kind
        info = context.stream_info
        if kind == _ROUTE_NAME:
            return info.route_name
        if kind == _VIRTUAL_CLUSTER:
            return info.virtual_cluster_name
        if kind == _TRACE_ID:
            return info.trace_id
        if kind == _SPAN_ID:
            return info.span_id
        connection = info.connection
        if kind == _TERMINATION_DETAILS:
            return info.connection_termination_details or connection.termination_details
        if kind == _FILTER_CHAIN:
            return connection.filter_chain_name
        if kind == _LISTENER:
            return connection.listener_name
        if kind == _JA3:
            return connection.ja3_hash
        if kind == _JA4:
            return connection.ja4_hash
        return connection.local_close_reason if kind == _LOCAL_CLOSE else connection.detected_close_type


class StreamIdOp(FormatOp):
    """%STREAM_ID%: the request id, or the id that an L4 session was given."""

    def text(self, context: FormatContext) -> bytes | None:
        return stream_id(context) or None


def stream_id(context: FormatContext) -> bytes:
    """The id of a stream, empty while it has none."""
    known = context.stream_info.stream_id
    if known:
        return known.encode()
    headers = context.request_headers
    value = None if headers is None else headers.get(X_REQUEST_ID)
    return b"" if value is None else value


class TransportFailureOp(StringOp):
    """%DOWNSTREAM_TRANSPORT_FAILURE_REASON%."""

    def string(self, context: FormatContext) -> str:
        return without_spaces(context.stream_info.connection.transport_failure_reason)


class CustomFlagsOp(FormatOp):
    """%CUSTOM_FLAGS%: empty, not `-`, when no filter set any."""

    def text(self, context: FormatContext) -> bytes | None:
        return context.stream_info.custom_flags.encode()


class AccessLogTypeOp(FormatOp):
    """%ACCESS_LOG_TYPE%."""

    def text(self, context: FormatContext) -> bytes | None:
        return context.log_type.encode()


class LocalReplyBodyOp(FormatOp):
    """%LOCAL_REPLY_BODY%: known only where local replies are formatted."""

    def text(self, context: FormatContext) -> bytes | None:
        return context.local_reply_body


class UniqueIdOp(FormatOp):
    """%UNIQUE_ID%: a new UUID every time it is printed."""

    def text(self, context: FormatContext) -> bytes | None:
        return str(uuid.uuid4()).encode()


def _response_code_details(argument: str, length: int | None) -> FormatOp:
    return ResponseCodeDetailsOp(argument == "ALLOW_WHITESPACES")


def _environment(argument: str, length: int | None) -> FormatOp:
    value = os.environb.get(argument.encode("utf-8", "surrogateescape"), b"-")
    return ConstantOp(value if length is None else value[:length])


PLAIN: Final[dict[str, FormatOp]] = {
    "PROTOCOL": ProtocolOp(),
    "RESPONSE_FLAGS": ResponseFlagsOp(),
    "RESPONSE_FLAGS_LONG": ResponseFlagsLongOp(),
    "ROUTE_NAME": StreamTextOp(_ROUTE_NAME),
    "VIRTUAL_CLUSTER_NAME": StreamTextOp(_VIRTUAL_CLUSTER),
    "CONNECTION_TERMINATION_DETAILS": StreamTextOp(_TERMINATION_DETAILS),
    "FILTER_CHAIN_NAME": StreamTextOp(_FILTER_CHAIN),
    "LISTENER_NAME": StreamTextOp(_LISTENER),
    "STREAM_ID": StreamIdOp(),
    "TRACE_ID": StreamTextOp(_TRACE_ID),
    "SPAN_ID": StreamTextOp(_SPAN_ID),
    "TLS_JA3_FINGERPRINT": StreamTextOp(_JA3),
    "TLS_JA4_FINGERPRINT": StreamTextOp(_JA4),
    "DOWNSTREAM_LOCAL_CLOSE_REASON": StreamTextOp(_LOCAL_CLOSE),
    "DOWNSTREAM_DETECTED_CLOSE_TYPE": StreamTextOp(_DETECTED_CLOSE),
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON": TransportFailureOp(),
    "CUSTOM_FLAGS": CustomFlagsOp(),
    "ACCESS_LOG_TYPE": AccessLogTypeOp(),
    "LOCAL_REPLY_BODY": LocalReplyBodyOp(),
    "UNIQUE_ID": UniqueIdOp(),
    "HOSTNAME": ConstantOp(socket.gethostname().encode() or b"-"),
}

COMMANDS: Final[CommandTable] = {
    "RESPONSE_CODE_DETAILS": (PARAMS_OPTIONAL, _response_code_details),
    "ENVIRONMENT": (PARAMS_REQUIRED | LENGTH_ALLOWED, _environment),
}
