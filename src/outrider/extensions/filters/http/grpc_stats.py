"""envoy.filters.http.grpc_stats: counts gRPC and Connect calls and their messages, by method.

Source: Envoy documentation, "gRPC Statistics".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from outrider.data.filter_state import FilterStateObject
from outrider.data.grpc_status import is_grpc_content_type
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_TYPE
from outrider.extensions.filters.http.grpc_charge import GrpcCharger, MethodStats, service_and_method
from outrider.extensions.filters.http.grpc_frames import FLAG_CONNECT_END, FrameCounter, FrameDecoder, FrameError
from outrider.http.filter import DATA_CONTINUE, HEADERS_CONTINUE, TRAILERS_CONTINUE, HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS
from outrider.http.grpc_status import is_grpc_response

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_NAME: Final = "envoy.filters.http.grpc_stats"
_CONNECT_VERSION: Final = b"connect-protocol-version"
_CONNECT_STREAMING: Final = b"application/connect+"
# The JSON at the end of a Connect stream; a longer one counts as a failure.
_MAX_END: Final = 64 * 1024


class GrpcMessageCounts(FilterStateObject):
    """`envoy.filters.http.grpc_stats` in the filter state: messages of both directions so far."""

    __slots__ = ("requests", "responses")

    def __init__(self) -> None:
        self.requests = 0
        self.responses = 0

    def serialize_typed(self) -> object:
        # As JSON shows 64-bit numbers, and only those that are not 0.
        shown: dict[str, object] = {}
        if self.requests:
            shown["requestMessageCount"] = str(self.requests)
        if self.responses:
            shown["responseMessageCount"] = str(self.responses)
        return shown


class GrpcStatsSettings:
    __slots__ = ("charger", "emit_state", "upstream_time", "replace_dots", "all_methods", "listed")

    def __init__(self, config: View, context: FactoryContext) -> None:
        self.charger = GrpcCharger(context.cluster_manager)
        self.emit_state = config.flag("emit_filter_state")
        self.upstream_time = config.flag("enable_upstream_stats")
        self.replace_dots = config.flag("replace_dots_in_grpc_service_name")
        self.all_methods = config.flag("stats_for_all_methods")
        # The methods that are counted by name where not all are.
        self.listed: set[tuple[str, str]] = set()
        allowed = config.message("individual_method_stats_allowlist")
        if allowed is not None:
            for service in allowed.messages("services"):
                name = service.text("name")
                self.listed.update((name, method) for method in service.texts("method_names"))

    def stats_of(self, request: HttpFilter, path: bytes) -> MethodStats | None:
        """What to count a request with; None for one that is not counted."""
        info = self.charger.cluster_of(request.manager)
        names = service_and_method(path)
        if info is None or names is None:
            return None
        if not self.all_methods:
            return self.charger.find(info, names if names in self.listed else None)
        if self.replace_dots:
            names = (names[0].replace(".", "_"), names[1])
        return self.charger.find(info, names)


class ConnectEnd:
    """Looks for the end of a Connect stream, which says whether the call has succeeded."""

    __slots__ = ("success", "_frames")

    def __init__(self) -> None:
        self.success = False
        self._frames = FrameDecoder(_MAX_END)

    def inspect(self, data: bytes) -> None:
        try:
            for flags, payload in self._frames.decode(data):
                if flags & FLAG_CONNECT_END:
                    self.success = "error" not in json.loads(payload)
        except (FrameError, ValueError, TypeError):
            self.success = False


class GrpcStatsFilter(HttpFilter):
    __slots__ = (
        "settings", "stats", "grpc", "unary", "streaming", "grpc_response", "requests", "responses", "counts", "end",
        "unary_answered",
    )  # fmt: skip

    def __init__(self, settings: GrpcStatsSettings) -> None:
        self.settings = settings
        self.stats: MethodStats | None = None
        self.grpc = False
        # The two kinds of the Connect protocol.
        self.unary = False
        self.streaming = False
        self.grpc_response = False
        self.requests = FrameCounter()
        self.responses = FrameCounter()
        self.counts: GrpcMessageCounts | None = None
        self.end: ConnectEnd | None = None

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        content_type = headers.single.get(CONTENT_TYPE, b"")
        self.grpc = is_grpc_content_type(content_type)
        self.streaming = content_type.startswith(_CONNECT_STREAMING)
        self.unary = not self.streaming and _CONNECT_VERSION in headers.single and not self.grpc
        if self.grpc or self.streaming or self.unary:
            self.stats = self.settings.stats_of(self, headers.path)
            if self.streaming:
                self.end = ConnectEnd()
                self.responses = FrameCounter(FLAG_CONNECT_END)
        return HEADERS_CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        if self.grpc or self.streaming:
            self._count_requests(self.requests.inspect(data))
        elif self.unary and end_stream:
            self.requests.count = 1
            self._count_requests(1)
        return DATA_CONTINUE

    def _count_requests(self, messages: int) -> None:
        if messages:
            self._note()
            if self.stats is not None:
                self.stats.counter("request_message_count").add(messages)

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        content_type = headers.single.get(CONTENT_TYPE, b"")
        self.grpc_response = is_grpc_response(headers, end_stream)
        if self.stats is not None:
            if self.unary:
                self.stats.charge(headers.status == 200)
            elif not content_type.startswith(_CONNECT_STREAMING):
                self.stats.charge_status(headers)
            if end_stream:
                self._record_time()
        return HEADERS_CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        if self.grpc_response:
            self._count_responses(self.responses.inspect(data))
        elif self.end is not None:
            self.end.inspect(data)
            self._count_responses(self.responses.inspect(data))
            if end_stream:
                if self.stats is not None:
                    self.stats.charge(self.end.success)
                self._record_time()
        elif self.unary and end_stream:
            self.responses.count = 1
            self._count_responses(1)
            self._record_time()
        return DATA_CONTINUE

    def _count_responses(self, messages: int) -> None:
        if messages:
            self._note()
            if self.stats is not None:
                self.stats.counter("response_message_count").add(messages)

    def encode_trailers(self, trailers: HeaderMap) -> int:
        if self.grpc and self.stats is not None:
            self.stats.charge_status(trailers)
            self._record_time()
        return TRAILERS_CONTINUE

    def _note(self) -> None:
        if not self.settings.emit_state:
            return
        counts = self.counts
        if counts is None:
            counts = self.counts = GrpcMessageCounts()
            info = self.manager.stream_info
            if info.filter_state is None:
                info.filter_state = {}
            info.filter_state[_NAME] = counts
        counts.requests = self.requests.count
        counts.responses = self.responses.count

    def _record_time(self) -> None:
        upstream = self.manager.stream_info.upstream
        if not self.settings.upstream_time or self.stats is None or upstream is None:
            return
        if upstream.last_upstream_tx_ns and upstream.last_upstream_rx_ns:
            self.stats.record_time((upstream.last_upstream_rx_ns - upstream.last_upstream_tx_ns) // 1_000_000)


class GrpcStatsFactory(HttpFilterFactory):
    def __init__(self, settings: GrpcStatsSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return GrpcStatsFilter(self.settings)


@HTTP_FILTERS.register(_NAME, "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    return GrpcStatsFactory(GrpcStatsSettings(config, context))
