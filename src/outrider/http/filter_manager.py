"""Runs the HTTP filters of a stream: requests in order, responses in reverse, with stopping, buffering and resuming.

Semantics are those of Envoy's `Http::FilterManager` (documentation: "HTTP filters", and `envoy/http/filter.h`):
a filter that stops holds back the filters behind it; body that arrives meanwhile is buffered (within a limit) or held
at the source, as its status says; `continue_*` resumes behind it, or at it when it had stopped everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.stream_info import StreamInfo
from outrider.http.codec import RequestDecoder
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_AND_BUFFER,
    DATA_STOP_AND_WATERMARK,
    HEADERS_CONTINUE,
    HEADERS_CONTINUE_AND_DONT_END_STREAM,
    HEADERS_STOP_ALL_AND_BUFFER,
    HEADERS_STOP_ALL_AND_WATERMARK,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    HttpFilter,
    LocalReplyModifier,
)
from outrider.http.filter_chain import (
    HOOK_DECODE,
    HOOK_DECODE_COMPLETE,
    HOOK_ENCODE,
    HOOK_ENCODE_COMPLETE,
    HOOK_LOCAL_REPLY,
    HOOK_START,
    HOOK_STREAM_COMPLETE,
    HOOK_WATERMARK,
    FilterChainEntry,
    hooks_of,
)
from outrider.http.route import HttpRoute
from outrider.http.stream_trace import StreamTrace

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
    from outrider.network.connection import Connection

# State of a filter's direction.
RUNNING: Final = 0
STOPPED: Final = 1
STOPPED_ALL_BUFFER: Final = 2
STOPPED_ALL_WATERMARK: Final = 3


class BodyBuffer:
    """Body bytes held back: chunks, joined only when somebody looks."""

    __slots__ = ("chunks", "size")

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size: int = 0

    def add(self, data: bytes) -> None:
        if data:
            self.chunks.append(data)
            self.size += len(data)

    def take(self) -> bytes:
        """All bytes; the buffer is empty afterwards."""
        chunks = self.chunks
        self.chunks = []
        self.size = 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def peek(self) -> bytes:
        """All bytes; they stay."""
        if len(self.chunks) != 1:
            self.chunks = [b"".join(self.chunks)]
        return self.chunks[0]

    def replace(self, data: bytes) -> None:
        self.chunks = [data]
        self.size = len(data)


@mypyc_attr(allow_interpreted_subclasses=True)
class FilterManager(RequestDecoder):
    """The filters of one stream and their state. ActiveStream adds the codec and the connection manager."""

    def __init__(
        self, connection: Connection, dispatcher: Dispatcher, stream_info: StreamInfo, buffer_limit: int
    ) -> None:
        self.connection = connection
        self.dispatcher = dispatcher
        self.stream_info = stream_info
        self.request_headers: RequestHeaderMap | None = None
        self.request_trailers: HeaderMap | None = None
        self.response_headers: ResponseHeaderMap | None = None
        self.response_trailers: HeaderMap | None = None
        # Where requests are traced: the stream's span.
        self.trace: StreamTrace | None = None
        # Bytes of body that may be buffered for stopped filters; 0 = unlimited.
        self.buffer_limit: int = buffer_limit
        self._filters: list[HttpFilter] = []
        self._decoders: list[HttpFilter] = []
        self._encoders: list[HttpFilter] = []
        self._hooks: int = 0
        self._request_buffer: BodyBuffer | None = None
        self._response_buffer: BodyBuffer | None = None
        self._request_streaming: bool = False
        self._response_streaming: bool = False
        self._request_buffer_full: bool = False
        self._response_buffer_full: bool = False
        # Request completely received, response completely given to the filters.
        self.remote_complete: bool = False
        self.local_complete: bool = False
        self._encoded_headers: bool = False
        self._local_reply_sent: bool = False
        self._destroyed: bool = False
        self._watermark_callbacks: list[HttpFilter] = []
        self._downstream_high: bool = False

    # --- the chain ---

    def create_filter(self, entry: FilterChainEntry) -> None:
        """Append the filter of `entry` to this stream."""
        http_filter = entry.factory.create()
        hooks = hooks_of(http_filter)
        http_filter.manager = self
        http_filter.config_name = entry.name
        self._filters.append(http_filter)
        self._hooks |= hooks
        if hooks & HOOK_DECODE:
            http_filter.decode_index = len(self._decoders)
            self._decoders.append(http_filter)

    def finish_chain(self) -> None:
        """The chain is complete: order the encoders, start the filters."""
        encoders = self._encoders
        if self._hooks & HOOK_ENCODE:
            index = len(self._filters) - 1
            while index >= 0:
                http_filter = self._filters[index]
                if hooks_of(http_filter) & HOOK_ENCODE:
                    http_filter.encode_index = len(encoders)
                    encoders.append(http_filter)
                index -= 1
        if self._hooks & HOOK_WATERMARK:
            for http_filter in self._filters:
                if hooks_of(http_filter) & HOOK_WATERMARK:
                    self._watermark_callbacks.append(http_filter)
        if self._hooks & HOOK_START:
            for http_filter in self._filters:
                http_filter.on_start()

    # --- decoding ---

    def run_decode_headers(self, start: int, headers: RequestHeaderMap, end_stream: bool) -> None:
        """Headers through the decoders from `start` on."""
        decoders = self._decoders
        index = start
        # Where a body begins that a filter has added to a request without one.
        body_from: HttpFilter | None = None
        while index < len(decoders):
            current = decoders[index]
            index += 1
            ended = end_stream and body_from is None
            current.decode_ended = ended
            status = current.decode_headers(headers, ended)
            if self._destroyed or self._local_reply_sent:
                return
            if ended and self._hooks & HOOK_DECODE_COMPLETE:
                current.decode_complete()
            if status == HEADERS_CONTINUE:
                current.decode_headers_passed = True
            elif status == HEADERS_CONTINUE_AND_DONT_END_STREAM:
                current.decode_headers_passed = True
                current.decode_ended = False
                end_stream = False
            else:
                current.decode_state = _stop_state(status)
            if end_stream and body_from is None and self._request_buffer is not None:
                body_from = current
            if status != HEADERS_CONTINUE and status != HEADERS_CONTINUE_AND_DONT_END_STREAM:
                if index < len(decoders):
                    self._continue_added_body(body_from, current)
                    return
        self._continue_added_body(body_from, None)

    def _continue_added_body(self, body_from: HttpFilter | None, stopped: HttpFilter | None) -> None:
        if body_from is None or body_from is stopped:
            return
        # The headers have passed this filter already; what is left is to send the body it added.
        body_from.decode_state = STOPPED
        self.continue_decoding(body_from)

    def run_decode_data(self, start: int, data: bytes, end_stream: bool) -> None:
        """A body chunk through the decoders from `start` on."""
        decoders = self._decoders
        count = len(decoders)
        index = start
        had_trailers = self.request_trailers is not None
        added_trailers_at = -1
        while index < count:
            current = decoders[index]
            if current.decode_state >= STOPPED_ALL_BUFFER:
                self._request_streaming = current.decode_state == STOPPED_ALL_WATERMARK
                self._buffer_request(data)
                break
            if current.decode_ended:
                return
            ended = end_stream and self.request_trailers is None
            current.decode_ended = ended
            status = current.decode_data(data, ended)
            if self._destroyed or self._local_reply_sent:
                return
            if ended and self._hooks & HOOK_DECODE_COMPLETE:
                current.decode_complete()
            if not had_trailers and added_trailers_at < 0 and self.request_trailers is not None:
                end_stream = False
                current.decode_ended = False
                added_trailers_at = index
            if status == DATA_CONTINUE:
                if current.decode_state == STOPPED:
                    self._buffer_request(data)
                    self.continue_decoding(current)
                    break
            else:
                current.decode_state = STOPPED
                if status == DATA_STOP_AND_BUFFER or status == DATA_STOP_AND_WATERMARK:
                    self._request_streaming = status == DATA_STOP_AND_WATERMARK
                    self._buffer_request(data)
                elif ended and self._request_buffer is None:
                    # So that resuming still delivers the end of the stream, as an empty last chunk.
                    self._request_buffer = BodyBuffer()
                if index + 1 < count:
                    break
            index += 1
        if added_trailers_at >= 0 and self.request_trailers is not None:
            self.run_decode_trailers(added_trailers_at + 1, self.request_trailers)

    def run_decode_trailers(self, start: int, trailers: HeaderMap) -> None:
        """Trailers through the decoders from `start` on."""
        decoders = self._decoders
        index = start
        while index < len(decoders):
            current = decoders[index]
            if current.decode_state >= STOPPED_ALL_BUFFER:
                return
            current.decode_ended = True
            status = current.decode_trailers(trailers)
            if self._destroyed or self._local_reply_sent:
                return
            if self._hooks & HOOK_DECODE_COMPLETE:
                current.decode_complete()
            if status == TRAILERS_CONTINUE:
                if current.decode_state == STOPPED:
                    self.continue_decoding(current)
                    return
            else:
                if current.decode_state == RUNNING:
                    current.decode_state = STOPPED
                return
            index += 1

    def continue_decoding(self, http_filter: HttpFilter) -> None:
        """Resume the request behind `http_filter`; at it when it had stopped all iteration."""
        if self._destroyed or self._local_reply_sent or (self.local_complete and self._encoded_headers):
            return
        state = http_filter.decode_state
        if state == RUNNING:
            return
        http_filter.decode_state = RUNNING
        headers = self.request_headers
        if headers is None:
            return
        behind = http_filter.decode_index + 1
        resume_at = http_filter.decode_index if state >= STOPPED_ALL_BUFFER else behind
        trailers = self.request_trailers
        if not http_filter.decode_headers_passed:
            http_filter.decode_headers_passed = True
            only_headers = self.remote_complete and self._request_buffer is None and trailers is None
            self.run_decode_headers(behind, headers, only_headers)
            if self._destroyed or self._local_reply_sent:
                return
        buffered = self._request_buffer
        if buffered is not None:
            self._request_buffer = None
            data = buffered.take()
            if self._request_buffer_full:
                self._request_buffer_full = False
                self.on_decoder_filter_below_write_buffer_low_watermark()
            ended = self.remote_complete and trailers is None
            if resume_at != behind:
                http_filter.decode_ended = False
            self.run_decode_data(resume_at, data, ended)
            if self._destroyed or self._local_reply_sent:
                return
        if trailers is not None:
            self.run_decode_trailers(resume_at, trailers)

    def _buffer_request(self, data: bytes) -> None:
        buffered = self._request_buffer
        if buffered is None:
            buffered = BodyBuffer()
            self._request_buffer = buffered
        buffered.add(data)
        limit = self.buffer_limit
        if limit > 0 and buffered.size > limit and not self._request_buffer_full:
            self._request_buffer_full = True
            if self._request_streaming:
                self.on_decoder_filter_above_write_buffer_high_watermark()
            else:
                self.on_request_too_large()

    # --- encoding ---

    def encode_1xx_from(self, http_filter: HttpFilter | None, headers: ResponseHeaderMap) -> None:
        """Send an informational response through all encoders."""
        for current in self._encoders:
            if current.encode_1xx_headers(headers) != HEADERS_CONTINUE:
                return
        self.send_1xx_headers(headers)

    def encode_headers_from(self, http_filter: HttpFilter | None, headers: ResponseHeaderMap, end_stream: bool) -> None:
        """Start the response: headers through all encoders and out. `http_filter` is who made it."""
        if self._destroyed:
            return
        self.response_headers = headers
        if end_stream:
            self.local_complete = True
        if self._encoders:
            self.run_encode_headers(0, headers, end_stream)
        else:
            self._encoded_headers = True
            self.send_headers(headers, end_stream)
            if end_stream:
                self.on_response_sent()

    def encode_data_from(self, http_filter: HttpFilter | None, data: bytes, end_stream: bool) -> None:
        if self._destroyed:
            return
        if end_stream:
            self.local_complete = True
        if self._encoders:
            self.run_encode_data(0, data, end_stream)
        else:
            self.send_data(data, end_stream)
            if end_stream:
                self.on_response_sent()

    def encode_trailers_from(self, http_filter: HttpFilter | None, trailers: HeaderMap) -> None:
        if self._destroyed:
            return
        self.response_trailers = trailers
        self.local_complete = True
        self.run_encode_trailers(0, trailers)

    def run_encode_headers(self, start: int, headers: ResponseHeaderMap, end_stream: bool) -> None:
        encoders = self._encoders
        index = start
        body_from: HttpFilter | None = None
        while index < len(encoders):
            current = encoders[index]
            index += 1
            ended = end_stream and body_from is None
            current.encode_ended = ended
            status = current.encode_headers(headers, ended)
            if self._destroyed:
                return
            if ended and self._hooks & HOOK_ENCODE_COMPLETE:
                current.encode_complete()
            if status == HEADERS_CONTINUE:
                current.encode_headers_passed = True
            elif status == HEADERS_CONTINUE_AND_DONT_END_STREAM:
                current.encode_headers_passed = True
                current.encode_ended = False
                end_stream = False
            else:
                current.encode_state = _stop_state(status)
            if end_stream and body_from is None and self._response_buffer is not None:
                body_from = current
            if status != HEADERS_CONTINUE and status != HEADERS_CONTINUE_AND_DONT_END_STREAM:
                if body_from is not None and body_from is not current:
                    body_from.encode_state = STOPPED
                    self.continue_encoding(body_from)
                return
        ended = end_stream and body_from is None
        self._encoded_headers = True
        self.send_headers(headers, ended)
        if ended:
            self.on_response_sent()
        elif body_from is not None and not self._destroyed:
            body_from.encode_state = STOPPED
            self.continue_encoding(body_from)

    def run_encode_data(self, start: int, data: bytes, end_stream: bool) -> None:
        encoders = self._encoders
        index = start
        had_trailers = self.response_trailers is not None
        added_trailers_at = -1
        while index < len(encoders):
            current = encoders[index]
            if current.encode_state >= STOPPED_ALL_BUFFER:
                self._response_streaming = current.encode_state == STOPPED_ALL_WATERMARK
                self._buffer_response(data)
                return
            if current.encode_ended:
                return
            ended = end_stream and self.response_trailers is None
            current.encode_ended = ended
            status = current.encode_data(data, ended)
            if self._destroyed:
                return
            if ended and self._hooks & HOOK_ENCODE_COMPLETE:
                current.encode_complete()
            if not had_trailers and added_trailers_at < 0 and self.response_trailers is not None:
                end_stream = False
                current.encode_ended = False
                added_trailers_at = index
            if status == DATA_CONTINUE:
                if current.encode_state == STOPPED:
                    self._buffer_response(data)
                    self.continue_encoding(current)
                    return
            else:
                current.encode_state = STOPPED
                if status == DATA_STOP_AND_BUFFER or status == DATA_STOP_AND_WATERMARK:
                    self._response_streaming = status == DATA_STOP_AND_WATERMARK
                    self._buffer_response(data)
                elif ended and self._response_buffer is None:
                    self._response_buffer = BodyBuffer()
                return
            index += 1
        ended = end_stream and (self.response_trailers is None or had_trailers)
        self.send_data(data, ended)
        if ended:
            self.on_response_sent()
        elif added_trailers_at >= 0 and self.response_trailers is not None and not self._destroyed:
            self.run_encode_trailers(added_trailers_at + 1, self.response_trailers)

    def run_encode_trailers(self, start: int, trailers: HeaderMap) -> None:
        encoders = self._encoders
        index = start
        while index < len(encoders):
            current = encoders[index]
            if current.encode_state >= STOPPED_ALL_BUFFER:
                return
            current.encode_ended = True
            status = current.encode_trailers(trailers)
            if self._destroyed:
                return
            if self._hooks & HOOK_ENCODE_COMPLETE:
                current.encode_complete()
            if status == TRAILERS_CONTINUE:
                if current.encode_state == STOPPED:
                    self.continue_encoding(current)
                    return
            else:
                if current.encode_state == RUNNING:
                    current.encode_state = STOPPED
                return
            index += 1
        self.send_trailers(trailers)
        self.on_response_sent()

    def continue_encoding(self, http_filter: HttpFilter) -> None:
        """Resume the response behind `http_filter`; at it when it had stopped all iteration."""
        if self._destroyed:
            return
        state = http_filter.encode_state
        if state == RUNNING:
            return
        http_filter.encode_state = RUNNING
        headers = self.response_headers
        if headers is None:
            return
        behind = http_filter.encode_index + 1
        resume_at = http_filter.encode_index if state >= STOPPED_ALL_BUFFER else behind
        trailers = self.response_trailers
        if not http_filter.encode_headers_passed:
            http_filter.encode_headers_passed = True
            only_headers = self.local_complete and self._response_buffer is None and trailers is None
            self.run_encode_headers(behind, headers, only_headers)
            if self._destroyed:
                return
        buffered = self._response_buffer
        if buffered is not None:
            self._response_buffer = None
            data = buffered.take()
            if self._response_buffer_full:
                self._response_buffer_full = False
                self.on_encoder_filter_below_write_buffer_low_watermark()
            if resume_at != behind:
                http_filter.encode_ended = False
            self.run_encode_data(resume_at, data, self.local_complete and trailers is None)
            if self._destroyed:
                return
        if trailers is not None:
            self.run_encode_trailers(resume_at, trailers)

    def _buffer_response(self, data: bytes) -> None:
        buffered = self._response_buffer
        if buffered is None:
            buffered = BodyBuffer()
            self._response_buffer = buffered
        buffered.add(data)
        limit = self.buffer_limit
        if limit > 0 and buffered.size > limit and not self._response_buffer_full:
            self._response_buffer_full = True
            if self._response_streaming:
                self.on_encoder_filter_above_write_buffer_high_watermark()
            else:
                self.on_response_too_large()

    # --- what filters may ask for ---

    def decoding_buffer(self) -> bytes | None:
        """The request body buffered so far, or None."""
        return None if self._request_buffer is None else self._request_buffer.peek()

    def encoding_buffer(self) -> bytes | None:
        """The response body buffered so far, or None."""
        return None if self._response_buffer is None else self._response_buffer.peek()

    def modify_decoding_buffer(self, data: bytes) -> None:
        """Replace the buffered request body."""
        if self._request_buffer is None:
            self._request_buffer = BodyBuffer()
        self._request_buffer.replace(data)

    def modify_encoding_buffer(self, data: bytes) -> None:
        """Replace the buffered response body."""
        if self._response_buffer is None:
            self._response_buffer = BodyBuffer()
        self._response_buffer.replace(data)

    def add_decoded_data(self, http_filter: HttpFilter, data: bytes, streaming: bool) -> None:
        """Add to the body held for the filters behind `http_filter` (Envoy's addDecodedData)."""
        self._request_streaming = streaming
        self._buffer_request(data)

    def add_encoded_data(self, http_filter: HttpFilter, data: bytes, streaming: bool) -> None:
        self._response_streaming = streaming
        self._buffer_response(data)

    def inject_decoded_data(self, http_filter: HttpFilter, data: bytes, end_stream: bool) -> None:
        """Send body on behind `http_filter` without resuming it (Envoy's injectDecodedDataToFilterChain)."""
        headers = self.request_headers
        if not http_filter.decode_headers_passed and headers is not None:
            http_filter.decode_headers_passed = True
            self.run_decode_headers(http_filter.decode_index + 1, headers, False)
            if self._destroyed or self._local_reply_sent:
                return
        self.run_decode_data(http_filter.decode_index + 1, data, end_stream)

    def inject_encoded_data(self, http_filter: HttpFilter, data: bytes, end_stream: bool) -> None:
        headers = self.response_headers
        if not http_filter.encode_headers_passed and headers is not None:
            http_filter.encode_headers_passed = True
            self.run_encode_headers(http_filter.encode_index + 1, headers, False)
            if self._destroyed:
                return
        self.run_encode_data(http_filter.encode_index + 1, data, end_stream)

    def add_decoded_trailers(self) -> HeaderMap:
        """Give the request trailers; only while its last data is being decoded."""
        if self.request_trailers is None:
            self.request_trailers = HeaderMap()
        return self.request_trailers

    def add_encoded_trailers(self) -> HeaderMap:
        if self.response_trailers is None:
            self.response_trailers = HeaderMap()
        return self.response_trailers

    def set_decoder_buffer_limit(self, limit: int) -> None:
        """Bytes that may be buffered for stopped filters; 0 = unlimited."""
        self.buffer_limit = limit

    def set_encoder_buffer_limit(self, limit: int) -> None:
        self.buffer_limit = limit

    # --- local replies ---

    def run_on_local_reply(self, code: int, details: str) -> bool:
        """Tell the filters; True when one of them wants the stream reset instead."""
        reset = False
        if self._hooks & HOOK_LOCAL_REPLY:
            for http_filter in self._filters:
                if http_filter.on_local_reply(code, details):
                    reset = True
        return reset

    # --- watermarks ---

    def tell_downstream_high(self) -> None:
        """Downstream's write buffer is full: producers of the response stop."""
        if not self._downstream_high:
            self._downstream_high = True
            for http_filter in list(self._watermark_callbacks):
                http_filter.on_above_write_buffer_high_watermark()

    def tell_downstream_low(self) -> None:
        if self._downstream_high:
            self._downstream_high = False
            for http_filter in list(self._watermark_callbacks):
                http_filter.on_below_write_buffer_low_watermark()

    def on_encoder_filter_above_write_buffer_high_watermark(self) -> None:
        """A filter's response buffer is full: producers of the response stop."""
        for http_filter in list(self._watermark_callbacks):
            http_filter.on_above_write_buffer_high_watermark()

    def on_encoder_filter_below_write_buffer_low_watermark(self) -> None:
        for http_filter in list(self._watermark_callbacks):
            http_filter.on_below_write_buffer_low_watermark()

    # --- the end ---

    def run_on_stream_complete(self) -> None:
        if self._hooks & HOOK_STREAM_COMPLETE:
            for http_filter in self._filters:
                http_filter.on_stream_complete()

    def destroy_filters(self) -> None:
        """Drop the filters. No hook is called afterwards."""
        if self._destroyed:
            return
        self._destroyed = True
        filters = self._filters
        self._filters = []
        self._decoders = []
        self._encoders = []
        self._watermark_callbacks = []
        self._request_buffer = None
        self._response_buffer = None
        for http_filter in filters:
            http_filter.on_destroy()

    # --- what the stream supplies ---

    def send_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        raise NotImplementedError

    def send_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        raise NotImplementedError

    def send_data(self, data: bytes, end_stream: bool) -> None:
        raise NotImplementedError

    def send_trailers(self, trailers: HeaderMap) -> None:
        raise NotImplementedError

    def on_response_sent(self) -> None:
        """The response has left completely."""
        raise NotImplementedError

    def on_request_too_large(self) -> None:
        """The body buffered for a filter passed the limit: 413."""
        raise NotImplementedError

    def on_response_too_large(self) -> None:
        raise NotImplementedError

    def on_decoder_filter_above_write_buffer_high_watermark(self) -> None:
        """Somebody behind takes no more of the request: stop reading downstream. Counted."""
        raise NotImplementedError

    def on_decoder_filter_below_write_buffer_low_watermark(self) -> None:
        raise NotImplementedError

    def send_local_reply_full(
        self, code: int, body: str, modifier: LocalReplyModifier | None, grpc_status: int, details: str
    ) -> None:
        """Answer from the proxy. `grpc_status` < 0: mapped from `code` where the request is gRPC."""
        raise NotImplementedError

    def send_local_reply(self, code: int, body: str, details: str) -> None:
        self.send_local_reply_full(code, body, None, -1, details)

    def reset_stream(self, reason: int, details: str) -> None:
        """Give the downstream stream up."""
        raise NotImplementedError

    def route(self) -> HttpRoute | None:
        """The route of the request or None; looked up once and kept."""
        raise NotImplementedError

    def clear_route_cache(self) -> None:
        """Look the route up anew when it is next asked for."""
        raise NotImplementedError

    def recreate_stream(self, headers: RequestHeaderMap | None) -> bool:
        """Run the request again through a new stream (internal redirect). False when that is impossible."""
        return False


def _stop_state(status: int) -> int:
    if status == HEADERS_STOP_ITERATION:
        return STOPPED
    if status == HEADERS_STOP_ALL_AND_BUFFER:
        return STOPPED_ALL_BUFFER
    assert status == HEADERS_STOP_ALL_AND_WATERMARK
    return STOPPED_ALL_WATERMARK
