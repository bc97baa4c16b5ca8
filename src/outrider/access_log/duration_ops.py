"""Operators that print durations. Points in time are monotonic nanoseconds, 0 where nothing happened (yet)."""

from __future__ import annotations

from typing import Final

from outrider.access_log.context import FormatContext
from outrider.access_log.operation import NO_NUMBER, FormatOp, NumberOp
from outrider.access_log.syntax import PARAMS_REQUIRED, CommandTable, FormatError
from outrider.data.stream_info import StreamInfo

# Points in time of COMMON_DURATION.
_CUSTOM: Final = 0
_DS_CX_BEG: Final = 1
_DS_CX_END: Final = 2
_DS_HS_BEG: Final = 3
_DS_HS_END: Final = 4
_DS_RX_BEG: Final = 5
_DS_RX_HDR_END: Final = 6
_DS_RX_END: Final = 7
_DS_TX_BEG: Final = 8
_DS_TX_END: Final = 9
_US_CX_BEG: Final = 10
_US_CX_END: Final = 11
_US_HS_END: Final = 12
_US_TX_BEG: Final = 13
_US_TX_END: Final = 14
_US_RX_BEG: Final = 15
_US_RX_BODY_BEG: Final = 16
_US_RX_END: Final = 17
_US_POOL_READY: Final = 18
_DS_END: Final = 19

_POINTS: Final[dict[str, int]] = {
    "DS_CX_BEG": _DS_CX_BEG,
    "DS_CX_END": _DS_CX_END,
    "DS_HS_BEG": _DS_HS_BEG,
    "DS_HS_END": _DS_HS_END,
    "DS_RX_BEG": _DS_RX_BEG,
    "DS_RX_HDR_END": _DS_RX_HDR_END,
    "DS_RX_END": _DS_RX_END,
    "DS_TX_BEG": _DS_TX_BEG,
    "DS_TX_END": _DS_TX_END,
    "US_CX_BEG": _US_CX_BEG,
    "US_CX_END": _US_CX_END,
    "US_HS_END": _US_HS_END,
    "US_TX_BEG": _US_TX_BEG,
    "US_TX_END": _US_TX_END,
    "US_RX_BEG": _US_RX_BEG,
    "US_RX_BODY_BEG": _US_RX_BODY_BEG,
    "US_RX_END": _US_RX_END,
}
_PRECISIONS: Final[dict[str, int]] = {"ms": 1_000_000, "us": 1000, "ns": 1}


def time_point(info: StreamInfo, point: int) -> int:
    """A named point in time; 0 when it has not come."""
    if point >= _US_CX_BEG and point != _DS_END:
        upstream = info.upstream
        if upstream is None:
            return 0
        if point == _US_RX_BEG:
            return upstream.first_upstream_rx_ns
        if point == _US_TX_END:
            return upstream.last_upstream_tx_ns
        if point == _US_TX_BEG:
            return upstream.first_upstream_tx_ns
        if point == _US_RX_END:
            return upstream.last_upstream_rx_ns
        if point == _US_RX_BODY_BEG:
            return upstream.first_rx_body_ns
        if point == _US_CX_BEG:
            return upstream.connect_start_ns
        if point == _US_CX_END:
            return upstream.connect_end_ns
        return upstream.tls_end_ns if point == _US_HS_END else upstream.pool_ready_ns
    if point == _DS_RX_BEG:
        return info.start_mono_ns
    if point == _DS_END:
        return info.end_ns
    if point == _DS_RX_END:
        return info.last_downstream_rx_ns
    if point == _DS_TX_BEG:
        return info.first_downstream_tx_ns
    if point == _DS_TX_END:
        return info.last_downstream_tx_ns
    if point == _DS_RX_HDR_END:
        # A codec that hands over complete header sections only sets none: the stream began with it.
        if info.request_headers_end_ns == 0 and info.last_downstream_rx_ns:
            return info.start_mono_ns
        return info.request_headers_end_ns
    connection = info.connection
    if point == _DS_CX_BEG:
        return connection.start_mono_ns
    if point == _DS_CX_END:
        return connection.end_mono_ns
    if point == _DS_HS_BEG:
        return connection.handshake_start_ns
    return info.downstream_handshake_ns or connection.handshake_end_ns


class DurationOp(NumberOp):
    """%DURATION%: milliseconds from the first byte in to the last byte out."""

    def number(self, context: FormatContext) -> int:
        info = context.stream_info
        end = info.end_ns
        return NO_NUMBER if end == 0 else (end - info.start_mono_ns) // 1_000_000


class MillisecondsOp(NumberOp):
    """Milliseconds between two points in time, negative where they came the other way round."""

    def __init__(self, begin: int, end: int) -> None:
        self.begin = begin
        self.end = end

    def number(self, context: FormatContext) -> int:
        info = context.stream_info
        begin = time_point(info, self.begin)
        end = time_point(info, self.end)
        if begin == 0 or end == 0:
            return NO_NUMBER
        if end < begin:
            return -((begin - end) // 1_000_000)
        return (end - begin) // 1_000_000


class CommonDurationOp(NumberOp):
    """%COMMON_DURATION(BEGIN:END:PRECISION)%: nothing where the end came before the beginning."""

    def __init__(self, begin_name: str, end_name: str, unit: int) -> None:
        self.begin_name = begin_name
        self.end_name = end_name
        self.begin: int = _POINTS.get(begin_name, _CUSTOM)
        self.end: int = _POINTS.get(end_name, _CUSTOM)
        # Nanoseconds.
        self.unit = unit

    def _point(self, info: StreamInfo, point: int, name: str) -> int:
        if point != _CUSTOM:
            return time_point(info, point)
        points = info.time_points
        return 0 if points is None else points.get(name, 0)

    def number(self, context: FormatContext) -> int:
        info = context.stream_info
        begin = self._point(info, self.begin, self.begin_name)
        end = self._point(info, self.end, self.end_name)
        if begin == 0 or end < begin:
            return NO_NUMBER
        return (end - begin) // self.unit


class NoDurationOp(NumberOp):
    """A duration that only QUIC knows."""

    def number(self, context: FormatContext) -> int:
        return NO_NUMBER


def _common_duration(argument: str, length: int | None) -> FormatOp:
    parts = argument.split(":")
    if len(parts) not in (2, 3):
        raise FormatError(f"Invalid common duration configuration: {argument}.")
    precision = parts[2] if len(parts) == 3 else "ms"
    unit = _PRECISIONS.get(precision)
    if unit is None:
        raise FormatError(f"Invalid common duration precision: {precision}.")
    return CommonDurationOp(parts[0], parts[1], unit)


PLAIN: Final[dict[str, FormatOp]] = {
    "DURATION": DurationOp(),
    "REQUEST_DURATION": MillisecondsOp(_DS_RX_BEG, _DS_RX_END),
    "REQUEST_TX_DURATION": MillisecondsOp(_DS_RX_BEG, _US_TX_END),
    "RESPONSE_DURATION": MillisecondsOp(_DS_RX_BEG, _US_RX_BEG),
    "RESPONSE_TX_DURATION": MillisecondsOp(_US_RX_BEG, _DS_TX_END),
    "ROUNDTRIP_DURATION": NoDurationOp(),
    "DOWNSTREAM_HANDSHAKE_DURATION": MillisecondsOp(_DS_RX_BEG, _DS_HS_END),
    "UPSTREAM_CONNECTION_POOL_READY_DURATION": MillisecondsOp(_DS_RX_BEG, _US_POOL_READY),
}

COMMANDS: Final[CommandTable] = {"COMMON_DURATION": (PARAMS_REQUIRED, _common_duration)}
