"""Operators that print counts and sizes of the stream and of its connections."""

from __future__ import annotations

from typing import Final

from outrider.access_log.context import FormatContext
from outrider.access_log.operation import NO_NUMBER, FormatOp, NumberOp

_UPSTREAM_WIRE_SENT: Final = 0
_UPSTREAM_WIRE_RECEIVED: Final = 1
_UPSTREAM_HEADER_SENT: Final = 2
_UPSTREAM_HEADER_RECEIVED: Final = 3
_DOWNSTREAM_WIRE_SENT: Final = 4
_DOWNSTREAM_WIRE_RECEIVED: Final = 5
_DOWNSTREAM_HEADER_SENT: Final = 6
_DOWNSTREAM_HEADER_RECEIVED: Final = 7

_CONNECTION_ID: Final = 0
_UPSTREAM_CONNECTION_ID: Final = 1
_ATTEMPTS: Final = 2
_RETRANSMITTED: Final = 3
_RESOLUTION_COUNT: Final = 4
_RESOLUTION_TIME: Final = 5
_ROUND_TRIP: Final = 6

_REQUEST_HEADERS: Final = 0
_RESPONSE_HEADERS: Final = 1
_RESPONSE_TRAILERS: Final = 2


class ResponseCodeOp(NumberOp):
    """%RESPONSE_CODE%: 0 when there was no response."""

    def number(self, context: FormatContext) -> int:
        return context.stream_info.response_code


class BytesReceivedOp(NumberOp):
    """%BYTES_RECEIVED%: body bytes, or bytes of an L4 session."""

    def number(self, context: FormatContext) -> int:
        return context.stream_info.bytes_received


class BytesSentOp(NumberOp):
    """%BYTES_SENT%."""

    def number(self, context: FormatContext) -> int:
        return context.stream_info.bytes_sent


class MeterOp(NumberOp):
    """Bytes on the wire and in header sections, on either side; HTTP/1 header sections are not compressed."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def number(self, context: FormatContext) -> int:
        kind = self.kind
        info = context.stream_info
        if kind >= _DOWNSTREAM_WIRE_SENT:
            if kind == _DOWNSTREAM_WIRE_SENT:
                return info.wire_bytes_sent
            if kind == _DOWNSTREAM_WIRE_RECEIVED:
                return info.wire_bytes_received
            return info.header_bytes_sent if kind == _DOWNSTREAM_HEADER_SENT else info.header_bytes_received
        upstream = info.upstream
        if upstream is None:
            return 0
        if kind == _UPSTREAM_WIRE_SENT:
            return upstream.wire_bytes_sent
        if kind == _UPSTREAM_WIRE_RECEIVED:
            return upstream.wire_bytes_received
        return upstream.header_bytes_sent if kind == _UPSTREAM_HEADER_SENT else upstream.header_bytes_received


class CountOp(NumberOp):
    """Identifiers and counts of the stream."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def number(self, context: FormatContext) -> int:
        kind = self.kind
        info = context.stream_info
        if kind == _CONNECTION_ID:
            return info.connection.connection_id
        if kind == _UPSTREAM_CONNECTION_ID:
            upstream = info.upstream
            return 0 if upstream is None else upstream.connection_id
        if kind == _ATTEMPTS:
            return info.attempt_count
        if kind == _RETRANSMITTED:
            return info.retransmitted
        if kind == _RESOLUTION_COUNT:
            return info.route_resolution_count
        if kind == _RESOLUTION_TIME:
            return info.route_resolution_us if info.route_resolution_count else NO_NUMBER
        return info.connection.round_trip_time_us // 1000


class HeaderBytesOp(NumberOp):
    """Size of a header or trailer section: names and values without separators; 0 where there is none."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def number(self, context: FormatContext) -> int:
        kind = self.kind
        if kind == _REQUEST_HEADERS:
            request = context.request_headers
            return 0 if request is None else request.byte_size()
        if kind == _RESPONSE_HEADERS:
            response = context.response_headers
            return 0 if response is None else response.byte_size()
        trailers = context.response_trailers
        return 0 if trailers is None else trailers.byte_size()


PLAIN: Final[dict[str, FormatOp]] = {
    "RESPONSE_CODE": ResponseCodeOp(),
    "BYTES_RECEIVED": BytesReceivedOp(),
    "BYTES_SENT": BytesSentOp(),
    "BYTES_RETRANSMITTED": CountOp(_RETRANSMITTED),
    "PACKETS_RETRANSMITTED": CountOp(_RETRANSMITTED),
    "UPSTREAM_WIRE_BYTES_SENT": MeterOp(_UPSTREAM_WIRE_SENT),
    "UPSTREAM_WIRE_BYTES_RECEIVED": MeterOp(_UPSTREAM_WIRE_RECEIVED),
    "UPSTREAM_HEADER_BYTES_SENT": MeterOp(_UPSTREAM_HEADER_SENT),
    "UPSTREAM_HEADER_BYTES_RECEIVED": MeterOp(_UPSTREAM_HEADER_RECEIVED),
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT": MeterOp(_UPSTREAM_HEADER_SENT),
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": MeterOp(_UPSTREAM_HEADER_RECEIVED),
    "DOWNSTREAM_WIRE_BYTES_SENT": MeterOp(_DOWNSTREAM_WIRE_SENT),
    "DOWNSTREAM_WIRE_BYTES_RECEIVED": MeterOp(_DOWNSTREAM_WIRE_RECEIVED),
    "DOWNSTREAM_HEADER_BYTES_SENT": MeterOp(_DOWNSTREAM_HEADER_SENT),
    "DOWNSTREAM_HEADER_BYTES_RECEIVED": MeterOp(_DOWNSTREAM_HEADER_RECEIVED),
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT": MeterOp(_DOWNSTREAM_HEADER_SENT),
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": MeterOp(_DOWNSTREAM_HEADER_RECEIVED),
    "CONNECTION_ID": CountOp(_CONNECTION_ID),
    "UPSTREAM_CONNECTION_ID": CountOp(_UPSTREAM_CONNECTION_ID),
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": CountOp(_ATTEMPTS),
    "ROUTE_RESOLUTION_COUNT": CountOp(_RESOLUTION_COUNT),
    "ROUTE_RESOLUTION_TIME_US": CountOp(_RESOLUTION_TIME),
    "DOWNSTREAM_CX_RTT": CountOp(_ROUND_TRIP),
    "REQUEST_HEADERS_BYTES": HeaderBytesOp(_REQUEST_HEADERS),
    "RESPONSE_HEADERS_BYTES": HeaderBytesOp(_RESPONSE_HEADERS),
    "RESPONSE_TRAILERS_BYTES": HeaderBytesOp(_RESPONSE_TRAILERS),
}
