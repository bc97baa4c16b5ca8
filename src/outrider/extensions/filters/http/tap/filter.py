"""The filter. Source: Envoy documentation, "Tap"; `envoy.config.tap.v3`, `envoy.data.tap.v3`."""

from __future__ import annotations

from random import getrandbits
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from outrider.config import api
from outrider.data.address import KIND_IP, Address
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.extensions.filters.http.tap import predicate
from outrider.extensions.filters.http.tap.predicate import Predicate, Progress, parse_predicate
from outrider.extensions.filters.http.tap.sink import FileSink
from outrider.http.filter import DATA_CONTINUE, HEADERS_CONTINUE, TRAILERS_CONTINUE, HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS
from outrider.matching.runtime_fraction import RuntimeFraction, runtime_fraction

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.http.tap.v3.Tap"
_TRACE: Final = "envoy.data.tap.v3.TraceWrapper"
_DEFAULT_BYTES: Final = 1024
# Segments that are kept until it is known whether the stream matches.
_MOST_HELD: Final = 1000


class TapSettings:
    """Raises ConfigError."""

    def __init__(self, config: View, context: FactoryContext) -> None:
        common = config.message("common_config")
        if common is None:
            raise config.error("value is required", "common_config")
        static = common.message("static_config")
        if static is None:
            raise common.error("only static_config is supported", "config_type")
        match = static.message("match") or static.message("match_config")
        if match is None:
            raise static.error("Neither match nor match_config is set in TapConfig")
        self.predicate: Predicate = parse_predicate(match, context)
        output = static.message("output_config")
        if output is None:
            raise static.error("value is required", "output_config")
        sinks = output.messages("sinks")
        if len(sinks) != 1:
            raise output.error("value must contain exactly 1 item(s)", "sinks")
        kind = sinks[0].which("output_sink_type")
        if kind in ("streaming_admin", "buffered_admin"):
            raise sinks[0].error("Error: Specifying admin streaming output without configuring admin.", kind)
        if kind != "file_per_tap":
            raise sinks[0].error("only file_per_tap is supported", kind or "output_sink_type")
        self.sink = FileSink(sinks[0])
        self.request_bytes = output.integer("max_buffered_rx_bytes", _DEFAULT_BYTES)
        self.response_bytes = output.integer("max_buffered_tx_bytes", _DEFAULT_BYTES)
        self.streaming = output.flag("streaming")
        enabled = static.message("tap_enabled")
        self.enabled: RuntimeFraction | None = None if enabled is None else runtime_fraction(enabled, context.runtime)
        self.record_time = config.flag("record_headers_received_time")
        self.record_downstream = config.flag("record_downstream_connection")
        self.record_upstream = config.flag("record_upstream_connection")
        self.tapped = context.scope.counter("tap.rq_tapped")


class TapFilter(HttpFilter):
    def __init__(self, settings: TapSettings) -> None:
        self.settings = settings
        self.active = settings.enabled is None or settings.enabled.enabled(getrandbits(64))
        self.progress: Progress = settings.predicate.begin()
        self.trace_id = getrandbits(63)
        # What a buffered trace will say.
        self.trace: Any = api.new(_TRACE)
        # Segments of a stream of which it is not known yet whether it matches.
        self.held: list[tuple[Any, Any, HeaderMap | None]] = []
        self.told = False

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        if self.active:
            self._headers(predicate.REQUEST_HEADERS, headers)
        return HEADERS_CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        if self.active and data:
            self._body(predicate.REQUEST_BODY, data)
        return DATA_CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> int:
        if self.active:
            self._headers(predicate.REQUEST_TRAILERS, trailers)
        return TRAILERS_CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        if self.active:
            self._headers(predicate.RESPONSE_HEADERS, headers)
        return HEADERS_CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        if self.active and data:
            self._body(predicate.RESPONSE_BODY, data)
        return DATA_CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> int:
        if self.active:
            self._headers(predicate.RESPONSE_TRAILERS, trailers)
        return TRAILERS_CONTINUE

    def _headers(self, kind: str, headers: HeaderMap) -> None:
        self.progress.on_headers(kind, headers)
        trailers = kind.endswith("trailers_match")
        if self.settings.streaming:
            segment, piece = self._segment("trailers" if trailers else "headers", kind)
            self._submit(segment, piece, headers)
            return
        # A buffered trace shows them as they are in the end.
        if not trailers and self.settings.record_time:
            message = self._message(kind)
            message.headers_received_time.FromNanoseconds(time_ns())

    def _body(self, kind: str, data: bytes) -> None:
        self.progress.on_body(kind, data)
        settings = self.settings
        limit = settings.request_bytes if kind == predicate.REQUEST_BODY else settings.response_bytes
        if settings.streaming:
            segment, piece = self._segment("body_chunk", kind)
            piece.as_bytes = data[:limit]
            piece.truncated = len(data) > limit
            self._submit(segment, piece, None)
            return
        body = self._message(kind).body
        room = limit - len(body.as_bytes)
        body.as_bytes += data[:room]
        if len(data) > room:
            body.truncated = True

    def _message(self, kind: str) -> Any:
        trace = self.trace.http_buffered_trace
        return trace.request if kind.startswith("http_request") else trace.response

    def _segment(self, part: str, kind: str) -> tuple[Any, Any]:
        made: Any = api.new(_TRACE)
        segment = made.http_streamed_trace_segment
        segment.trace_id = self.trace_id
        piece = getattr(segment, f"{'request' if kind.startswith('http_request') else 'response'}_{part}")
        piece.SetInParent()
        return made, piece

    def _submit(self, segment: Any, piece: Any, headers: HeaderMap | None) -> None:
        if self.told:
            if headers is not None:
                _fill(piece.headers, headers)
            self.settings.sink.write(segment, self.trace_id)
            return
        if len(self.held) < _MOST_HELD:
            self.held.append((segment, piece, headers))
        if self.progress.matches():
            self._tap()
            held, self.held = self.held, []
            # Headers as they are now, filters behind included.
            for each, part, fields in held:
                if fields is not None:
                    _fill(part.headers, fields)
                self.settings.sink.write(each, self.trace_id)

    def _tap(self) -> None:
        self.told = True
        self.settings.tapped.inc()

    def on_stream_complete(self) -> None:
        settings = self.settings
        if not self.active or settings.streaming or not self.progress.matches():
            return
        self._tap()
        info = self.manager.stream_info
        trace = self.trace.http_buffered_trace
        manager = self.manager
        for target, headers in (
            (trace.request.headers, manager.request_headers),
            (trace.request.trailers, manager.request_trailers),
            (trace.response.headers, manager.response_headers),
            (trace.response.trailers, manager.response_trailers),
        ):
            if headers is not None:
                _fill(target, headers)
        if settings.record_downstream:
            _address(trace.downstream_connection.local_address, info.connection.local_address)
            _address(trace.downstream_connection.remote_address, info.connection.remote_address)
        if settings.record_upstream and info.upstream is not None:
            _address(trace.upstream_connection.local_address, info.upstream.local_address)
            _address(trace.upstream_connection.remote_address, info.upstream.remote_address)
        settings.sink.write(self.trace, self.trace_id)


def _fill(target: Any, headers: HeaderMap) -> None:
    for name, value in headers.all_items():
        target.add(key=name.decode("latin-1"), value=value.decode("utf-8", "replace"))


def _address(target: Any, address: Address | None) -> None:
    if address is None:
        return
    if address.kind == KIND_IP:
        target.socket_address.address = address.host
        target.socket_address.port_value = address.port
    else:
        target.pipe.path = address.host


class TapFactory(HttpFilterFactory):
    def __init__(self, settings: TapSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return TapFilter(self.settings)


@HTTP_FILTERS.register("envoy.filters.http.tap", TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return TapFactory(TapSettings(config, context))
