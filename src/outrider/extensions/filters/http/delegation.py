"""A filter that stands for others which are chosen while the request runs.

The chosen filter believes to stand in the chain itself: what it asks of its manager is asked in the name of the filter
that stands there.
"""

from __future__ import annotations

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.http.filter import (
    DATA_CONTINUE,
    HEADERS_CONTINUE,
    LOCAL_ERROR_CONTINUE,
    TRAILERS_CONTINUE,
    HttpFilter,
    LocalReplyModifier,
)
from outrider.http.filter_manager import FilterManager
from outrider.http.route import HttpRoute


class DelegateManager(FilterManager):
    """What a chosen filter takes for the filter manager."""

    def __init__(self, real: FilterManager, outer: HttpFilter) -> None:
        super().__init__(real.connection, real.dispatcher, real.stream_info, real.buffer_limit)
        self.real = real
        self.outer = outer

    def sync(self) -> None:
        """Before the chosen filter is called: messages may have come since."""
        real = self.real
        self.stream_info = real.stream_info
        self.request_headers = real.request_headers
        self.request_trailers = real.request_trailers
        self.response_headers = real.response_headers
        self.response_trailers = real.response_trailers
        self.remote_complete = real.remote_complete
        self.local_complete = real.local_complete
        self.buffer_limit = real.buffer_limit

    def continue_decoding(self, http_filter: HttpFilter) -> None:
        self.real.continue_decoding(self.outer)

    def continue_encoding(self, http_filter: HttpFilter) -> None:
        self.real.continue_encoding(self.outer)

    def decoding_buffer(self) -> bytes | None:
        return self.real.decoding_buffer()

    def encoding_buffer(self) -> bytes | None:
        return self.real.encoding_buffer()

    def modify_decoding_buffer(self, data: bytes) -> None:
        self.real.modify_decoding_buffer(data)

    def modify_encoding_buffer(self, data: bytes) -> None:
        self.real.modify_encoding_buffer(data)

    def add_decoded_data(self, http_filter: HttpFilter, data: bytes, streaming: bool) -> None:
        self.real.add_decoded_data(self.outer, data, streaming)

    def add_encoded_data(self, http_filter: HttpFilter, data: bytes, streaming: bool) -> None:
        self.real.add_encoded_data(self.outer, data, streaming)

    def inject_decoded_data(self, http_filter: HttpFilter, data: bytes, end_stream: bool) -> None:
        self.real.inject_decoded_data(self.outer, data, end_stream)

    def inject_encoded_data(self, http_filter: HttpFilter, data: bytes, end_stream: bool) -> None:
        self.real.inject_encoded_data(self.outer, data, end_stream)

    def add_decoded_trailers(self) -> HeaderMap:
        self.request_trailers = self.real.add_decoded_trailers()
        return self.request_trailers

    def add_encoded_trailers(self) -> HeaderMap:
        self.response_trailers = self.real.add_encoded_trailers()
        return self.response_trailers

    def set_decoder_buffer_limit(self, limit: int) -> None:
        self.buffer_limit = limit
        self.real.set_decoder_buffer_limit(limit)

    def set_encoder_buffer_limit(self, limit: int) -> None:
        self.buffer_limit = limit
        self.real.set_encoder_buffer_limit(limit)

    def on_decoder_filter_above_write_buffer_high_watermark(self) -> None:
        self.real.on_decoder_filter_above_write_buffer_high_watermark()

    def on_decoder_filter_below_write_buffer_low_watermark(self) -> None:
        self.real.on_decoder_filter_below_write_buffer_low_watermark()

    def on_encoder_filter_above_write_buffer_high_watermark(self) -> None:
        self.real.on_encoder_filter_above_write_buffer_high_watermark()

    def on_encoder_filter_below_write_buffer_low_watermark(self) -> None:
        self.real.on_encoder_filter_below_write_buffer_low_watermark()

    def send_local_reply_full(
        self, code: int, body: str, modifier: LocalReplyModifier | None, grpc_status: int, details: str
    ) -> None:
        self.real.send_local_reply_full(code, body, modifier, grpc_status, details)

    def reset_stream(self, reason: int, details: str) -> None:
        self.real.reset_stream(reason, details)

    def route(self) -> HttpRoute | None:
        return self.real.route()

    def clear_route_cache(self) -> None:
        self.real.clear_route_cache()

    def recreate_stream(self, headers: RequestHeaderMap | None) -> bool:
        return self.real.recreate_stream(headers)


class DelegatingFilter(HttpFilter):
    """Hands every hook to `inner`, while there is one."""

    inner: HttpFilter | None = None
    proxy: DelegateManager | None = None

    def choose(self, inner: HttpFilter) -> None:
        """From now on `inner` stands here."""
        self.proxy = DelegateManager(self.manager, self)
        self.proxy.sync()
        inner.manager = self.proxy
        inner.config_name = self.config_name
        inner.decode_index = self.decode_index
        inner.encode_index = self.encode_index
        self.inner = inner
        inner.on_start()

    def _called(self) -> HttpFilter | None:
        if self.proxy is not None:
            self.proxy.sync()
        return self.inner

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        inner = self._called()
        return HEADERS_CONTINUE if inner is None else inner.decode_headers(headers, end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        inner = self._called()
        return DATA_CONTINUE if inner is None else inner.decode_data(data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> int:
        inner = self._called()
        return TRAILERS_CONTINUE if inner is None else inner.decode_trailers(trailers)

    def decode_complete(self) -> None:
        inner = self._called()
        if inner is not None:
            inner.decode_complete()

    def encode_1xx_headers(self, headers: ResponseHeaderMap) -> int:
        inner = self._called()
        return HEADERS_CONTINUE if inner is None else inner.encode_1xx_headers(headers)

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        inner = self._called()
        return HEADERS_CONTINUE if inner is None else inner.encode_headers(headers, end_stream)

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        inner = self._called()
        return DATA_CONTINUE if inner is None else inner.encode_data(data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> int:
        inner = self._called()
        return TRAILERS_CONTINUE if inner is None else inner.encode_trailers(trailers)

    def encode_complete(self) -> None:
        inner = self._called()
        if inner is not None:
            inner.encode_complete()

    def on_local_reply(self, code: int, details: str) -> int:
        inner = self._called()
        return LOCAL_ERROR_CONTINUE if inner is None else inner.on_local_reply(code, details)

    def on_stream_complete(self) -> None:
        inner = self._called()
        if inner is not None:
            inner.on_stream_complete()

    def on_above_write_buffer_high_watermark(self) -> None:
        inner = self._called()
        if inner is not None:
            inner.on_above_write_buffer_high_watermark()

    def on_below_write_buffer_low_watermark(self) -> None:
        inner = self._called()
        if inner is not None:
            inner.on_below_write_buffer_low_watermark()

    def on_destroy(self) -> None:
        inner = self.inner
        self.inner = None
        if inner is not None:
            inner.on_destroy()
        self.proxy = None
