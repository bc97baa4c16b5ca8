"""The filter: one stream to the processor for each stream of ours, told of both directions.

Source: Envoy documentation, "External Processing".
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from outrider.config import api
from outrider.data.grpc_status import OK
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_LENGTH
from outrider.extensions.attributes import Activation
from outrider.extensions.filters.http.ext_proc.answers import ends_body, extend_timeout, override_mode, was_last
from outrider.extensions.filters.http.ext_proc.callbacks import ImmediateHeaders, ProcessorCallbacks
from outrider.extensions.filters.http.ext_proc.closing import ClosingStream
from outrider.extensions.filters.http.ext_proc.direction import (
    BUFFERED,
    BUFFERED_BODY,
    BUFFERED_PARTIAL,
    FULL_DUPLEX,
    HEADERS,
    IDLE,
    PARTIAL_BODY,
    STREAMED,
    STREAMED_BODY,
    Direction,
    Spurious,
)
from outrider.extensions.filters.http.ext_proc.messages import (
    RESPONSE,
    MutationRejected,
    fill_attributes,
    new_request,
)
from outrider.grpc.client import GrpcClient, GrpcStream
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_AND_BUFFER,
    DATA_STOP_AND_WATERMARK,
    DATA_STOP_NO_BUFFER,
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    TRAILERS_STOP,
    HttpFilter,
)

if TYPE_CHECKING:
    from outrider.extensions.filters.http.ext_proc.over_http import HttpExchange
    from outrider.extensions.filters.http.ext_proc.settings import ExtProcSettings, RouteOverrides

_log: Final = logging.getLogger("outrider.ext_proc")
_SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
_METHOD: Final = "Process"
_TIMEOUT_STATUS: Final = 504
_DEFAULT_STATUS: Final = 200


class ExtProcFilter(HttpFilter):
    def __init__(self, settings: ExtProcSettings) -> None:
        self.settings = settings
        self.overrides: RouteOverrides | None = None
        self.decoding = Direction(self, False)
        self.encoding = Direction(self, True)
        self.decoding.set_mode(settings.mode)
        self.encoding.set_mode(settings.mode)
        self.merged = False
        # Nothing more is asked or taken from the processor.
        self.done = False
        self.answered = False
        self.config_told = False
        self.failure_mode_allow = settings.failure_mode_allow
        self.client: GrpcClient | None = settings.client
        self.stream: GrpcStream | None = None
        self.callbacks: ProcessorCallbacks | None = None
        self.exchange: HttpExchange | None = None

    # --- routes ---

    def _merge(self) -> None:
        if self.merged:
            return
        self.merged = True
        route = self.manager.route()
        if route is None:
            return
        from outrider.extensions.filters.http.ext_proc.settings import ExtProcRoute, merge_routes

        levels = [each for each in route.per_filter_configs(self.config_name) if isinstance(each, ExtProcRoute)]
        if not levels:
            return
        merged = merge_routes(levels)
        if merged is None:
            self.done = True
            return
        self.overrides = merged
        if merged.mode is not None:
            self.decoding.set_mode(merged.mode)
            self.encoding.set_mode(merged.mode)
        if merged.client is not None:
            self.client = merged.client
        if merged.failure_mode_allow is not None:
            self.failure_mode_allow = merged.failure_mode_allow

    def _namespaces(self) -> tuple[list[str], list[str]]:
        """Metadata that goes out, and that which is taken."""
        overrides, settings = self.overrides, self.settings
        out = settings.forwarding if overrides is None or overrides.forwarding is None else overrides.forwarding
        taken = settings.receiving if overrides is None or overrides.receiving is None else overrides.receiving
        return out, taken

    # --- the stream to the processor ---

    def _open(self) -> bool:
        """Whether there is a stream. After False either nothing is to be done, or an answer has been sent."""
        if self.done:
            return False
        if self.stream is not None or self.client is None:
            return True
        settings = self.settings
        callbacks = ProcessorCallbacks(self, [] if self.overrides is None else self.overrides.metadata)
        self.callbacks = callbacks
        stream = self.client.start(_SERVICE, _METHOD, callbacks)
        if stream is None or self.done:
            return False
        settings.stats.streams_started.inc()
        self.stream = stream
        return True

    def new_message(self, direction: Direction) -> Any:
        """A ProcessingRequest with what all of them tell."""
        settings, manager = self.settings, self.manager
        request = new_request()
        request.observability_mode = settings.observability
        paths = settings.response_attributes if direction.encoding else settings.request_attributes
        if paths and not direction.attributes_sent:
            direction.attributes_sent = True
            activation = Activation(
                manager.stream_info, manager.request_headers, manager.response_headers, manager.response_trailers,
                manager.route(), settings.server, settings.direction,
            )  # fmt: skip
            fill_attributes(request, paths, activation)
        request.metadata_context.SetInParent()
        for namespace in self._namespaces()[0]:
            for source in (manager.stream_info.metadata, manager.connection.info.metadata):
                found = None if source is None else source.get(namespace)
                if found is not None:
                    request.metadata_context.filter_metadata[namespace].update(found)
                    break
        if not self.config_told and not settings.observability:
            self.config_told = True
            protocol = request.protocol_config
            protocol.SetInParent()
            protocol.request_body_mode = settings.body_number(self.decoding.body_mode)
            protocol.response_body_mode = settings.body_number(self.encoding.body_mode)
            protocol.send_body_without_waiting_for_header_response = settings.early_body
        return request

    def send(self, request: Any) -> None:
        self.settings.stats.stream_msgs_sent.inc()
        if self.client is None:
            from outrider.extensions.filters.http.ext_proc.over_http import HttpExchange

            self.exchange = HttpExchange(self)
            self.exchange.start(json_format.MessageToJson(request, descriptor_pool=api.pool()).encode())
        elif self.stream is not None:
            self.stream.send_message(request.SerializeToString())

    def _close(self) -> None:
        """Break the stream off."""
        stream, self.stream = self.stream, None
        if stream is not None:
            self.settings.stats.streams_closed.inc()
            if self.callbacks is not None:
                self.callbacks.filter = None
            stream.reset()

    def _close_gracefully(self) -> None:
        """Nothing more from us; the processor may end it."""
        self.done = True
        stream, self.stream = self.stream, None
        callbacks = self.callbacks
        if stream is None or callbacks is None:
            return
        self.settings.stats.streams_closed.inc()
        callbacks.filter = None
        callbacks.closing = ClosingStream(stream, self.manager.dispatcher, self.settings.closing_time())
        stream.close()

    # --- the request ---

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        self._merge()
        return self._headers(self.decoding, headers, end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        return self._data(self.decoding, data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> int:
        return self._trailers(self.decoding, trailers)

    # --- the response ---

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        self._merge()
        status = self._headers(self.encoding, headers, end_stream)
        if self.encoding.nothing_to_process() and not self.settings.observability:
            self._close_gracefully()
        return status

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        return self._data(self.encoding, data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> int:
        return self._trailers(self.encoding, trailers)

    # --- both ---

    def _headers(self, side: Direction, headers: HeaderMap, end: bool) -> int:
        if side.send_headers and self.settings.observability:
            if self._open():
                side.tell_headers(headers, end)
            return HEADERS_STOP_ITERATION if self.answered else HEADERS_CONTINUE
        side.body_complete = side.body_complete or end
        status = HEADERS_CONTINUE
        if not self.done and side.send_headers:
            if self._open():
                side.headers = headers
                side.no_body = end
                side.wait_for(HEADERS)
                side.paused = True
                side.tell_headers(headers, end)
                status = HEADERS_STOP_ITERATION if side.paused or self.answered else HEADERS_CONTINUE
            elif self.answered:
                status = HEADERS_STOP_ITERATION
        if not self.done and side.loses_content_length():
            headers.remove(CONTENT_LENGTH)
        return status

    def _data(self, side: Direction, data: bytes, end: bool) -> int:
        side.body_came = True
        if self.settings.observability:
            if side.body_mode == STREAMED and self._open():
                side.tell_body(data, end, IDLE)
            return DATA_CONTINUE
        side.body_complete = side.body_complete or end
        if side.body_replaced:
            # Dropped: the processor has given another body.
            if end:
                side.paused = True
                side.resume()
            return DATA_STOP_NO_BUFFER
        if self.done:
            return DATA_CONTINUE
        mode = side.body_mode
        if side.waiting == HEADERS and mode != FULL_DUPLEX and not (mode == STREAMED and self.settings.early_body):
            side.paused = True
            return DATA_STOP_AND_BUFFER if mode == BUFFERED else DATA_STOP_AND_WATERMARK
        if mode == BUFFERED:
            return self._buffered(side, data, end)
        if mode == STREAMED or mode == FULL_DUPLEX:
            return self._streamed(side, data, end)
        if mode == BUFFERED_PARTIAL:
            return self._partial(side, data, end)
        return DATA_CONTINUE

    def _buffered(self, side: Direction, data: bytes, end: bool) -> int:
        side.paused = True
        if not end:
            return DATA_STOP_AND_BUFFER
        if not self._open():
            return DATA_STOP_NO_BUFFER if self.answered else DATA_CONTINUE
        side.add_buffered(data)
        side.tell_body(side.buffered() or b"", True, BUFFERED_BODY)
        return DATA_STOP_NO_BUFFER

    def _streamed(self, side: Direction, data: bytes, end: bool) -> int:
        if not self._open():
            return DATA_STOP_NO_BUFFER if self.answered else DATA_CONTINUE
        if side.body_mode != FULL_DUPLEX:
            side.enqueue(data, end)
        if end or side.waiting == HEADERS:
            side.paused = True
        side.tell_body(data, end, HEADERS if side.waiting == HEADERS else STREAMED_BODY)
        return DATA_STOP_NO_BUFFER

    def _partial(self, side: Direction, data: bytes, end: bool) -> int:
        if side.partial_done:
            side.headers = None
            return DATA_CONTINUE
        side.enqueue(data, end)
        side.paused = True
        if side.waiting != PARTIAL_BODY and (end or side.over_limit()):
            if not self._open():
                return DATA_STOP_NO_BUFFER
            whole, last = side.consolidate()
            side.tell_body(whole, last, PARTIAL_BODY)
        return DATA_STOP_NO_BUFFER

    def _trailers(self, side: Direction, trailers: HeaderMap) -> int:
        if self.done:
            return TRAILERS_CONTINUE
        if self.settings.observability:
            if side.send_trailers and self._open():
                side.tell_trailers(trailers)
            return TRAILERS_CONTINUE
        delivered = side.body_complete
        side.body_complete = True
        side.trailers = trailers
        side.trailers_came = True
        if side.waiting != IDLE and side.body_mode != FULL_DUPLEX:
            side.paused = True
            return TRAILERS_STOP
        held = side.buffered() if side.body_mode == BUFFERED else None
        if not delivered and (held is not None or (side.body_mode == BUFFERED_PARTIAL and side.queue)):
            if not self._open():
                return TRAILERS_STOP if self.answered else TRAILERS_CONTINUE
            side.paused = True
            if held is not None:
                side.tell_body(held, False, BUFFERED_BODY)
            else:
                whole, _ = side.consolidate()
                side.tell_body(whole, False, PARTIAL_BODY)
            return TRAILERS_STOP
        if not side.send_trailers:
            return TRAILERS_CONTINUE
        if not self._open():
            return TRAILERS_STOP if self.answered else TRAILERS_CONTINUE
        side.paused = True
        side.tell_trailers(trailers)
        return TRAILERS_STOP

    # --- what the processor says ---

    def on_bytes(self, data: bytes) -> None:
        answer: Any = api.new(RESPONSE)
        try:
            answer.ParseFromString(data)
        except DecodeError:
            self.on_remote_close(13, "malformed response")
            return
        self.on_answer(answer)

    def on_answer(self, answer: Any) -> None:
        """A ProcessingResponse."""
        if self.settings.observability or self.done:
            return
        if answer.HasField("override_message_timeout"):
            extend_timeout(self.settings, self.decoding, self.encoding, answer.override_message_timeout)
            return
        override_mode(self.settings, self.decoding, self.encoding, answer)
        kind = answer.WhichOneof("response")
        side = self.encoding if kind is not None and kind.startswith("response_") else self.decoding
        last = ends_body(side, kind, answer)
        stats = self.settings.stats
        try:
            self._apply(side, kind, answer)
        except Spurious as error:
            stats.spurious_msgs_received.inc()
            _log.warning("Spurious response message %s received on gRPC stream", kind)
            if self._may_fail():
                stats.failure_mode_allowed.inc()
                self.done = True
                self._close()
                self._abandon()
            else:
                self._answer_error(self.settings.status_on_error, str(error))
            return
        except MutationRejected as error:
            stats.stream_msgs_received.inc()
            self._answer_error(self.settings.status_on_error, str(error))
            return
        stats.stream_msgs_received.inc()
        if self.stream is not None and was_last(self.decoding, self.encoding, kind, last):
            self._close_gracefully()

    def _apply(self, side: Direction, kind: str | None, answer: Any) -> None:
        if kind == "immediate_response":
            if self.settings.disable_immediate:
                raise Spurious("unhandled immediate response due to config disabled it")
            self._take_metadata(answer)
            self.done = True
            self.decoding.finish()
            self.encoding.finish()
            self._close_gracefully()
            self._answer(answer.immediate_response)
            return
        if kind is None or kind == "streamed_immediate_response":
            raise Spurious("unhandled message")
        self._take_metadata(answer)
        if kind in ("request_headers", "response_headers"):
            side.on_headers_answer(getattr(answer, kind))
        elif kind in ("request_body", "response_body"):
            side.on_body_answer(getattr(answer, kind))
        else:
            side.on_trailers_answer(getattr(answer, kind))

    def _take_metadata(self, answer: Any) -> None:
        if not answer.HasField("dynamic_metadata"):
            return
        taken = self._namespaces()[1]
        for name, values in json_format.MessageToDict(answer.dynamic_metadata).items():
            if name in taken and isinstance(values, dict):
                self.manager.stream_info.set_metadata(name, values)

    # --- ends ---

    def _may_fail(self) -> bool:
        for side in (self.decoding, self.encoding):
            if side.body_mode == FULL_DUPLEX and side.body_came:
                return False
        return self.failure_mode_allow

    def _abandon(self) -> None:
        self.decoding.abandon()
        self.encoding.abandon()

    def on_remote_close(self, status: int, message: str) -> None:
        stats = self.settings.stats
        self.stream = None
        stats.server_half_closed.inc()
        if status == OK:
            if not self.done:
                self.done = True
                stats.streams_closed.inc()
                self._abandon()
            return
        stats.streams_failed.inc()
        if self.done:
            return
        _log.warning("Received gRPC error on stream: %d, message %s", status, message)
        if self._may_fail():
            self.done = True
            stats.failure_mode_allowed.inc()
            stats.streams_closed.inc()
            self._abandon()
            return
        self._answer_error(self.settings.status_on_error, f"ext_proc_error_gRPC_error_{status}{{{message}}}")

    def on_http_error(self) -> None:
        """The HTTP service did not answer as it should."""
        stats = self.settings.stats
        stats.http_not_ok_resp_received.inc()
        if self.done:
            return
        if self._may_fail():
            self.done = True
            stats.failure_mode_allowed.inc()
            self._abandon()
        else:
            self._answer_error(self.settings.status_on_error, "ext_proc_error_HTTP_ERROR")

    def on_message_timeout(self) -> None:
        stats = self.settings.stats
        stats.message_timeouts.inc()
        self.done = True
        self._close()
        if self._may_fail():
            stats.failure_mode_allowed.inc()
            self._abandon()
        else:
            self._answer_error(_TIMEOUT_STATUS, "ext_proc_error_per-message_timeout_exceeded")

    def _answer_error(self, status: int, details: str) -> None:
        self.done = True
        self.decoding.finish()
        self.encoding.finish()
        self._close()
        self.answered = True
        self.settings.stats.immediate_responses_sent.inc()
        self.manager.send_local_reply_full(status, "", None, -1, details)

    def _answer(self, immediate: Any) -> None:
        status = immediate.status.code if immediate.HasField("status") else _DEFAULT_STATUS
        if not 200 <= status < 600:
            status = _DEFAULT_STATUS
        grpc = immediate.grpc_status.status if immediate.HasField("grpc_status") else -1
        modifier = ImmediateHeaders(immediate.headers, self.settings) if immediate.HasField("headers") else None
        self.answered = True
        self.settings.stats.immediate_responses_sent.inc()
        body = immediate.body if isinstance(immediate.body, str) else immediate.body.decode("utf-8", "surrogateescape")
        self.manager.send_local_reply_full(status, body, modifier, grpc, immediate.details)

    def on_destroy(self) -> None:
        self.decoding.finish()
        self.encoding.finish()
        if self.exchange is not None:
            self.exchange.cancel()
            self.exchange = None
        if self.settings.observability:
            self.done = True
            stream, self.stream = self.stream, None
            callbacks = self.callbacks
            if stream is not None and callbacks is not None:
                # What has been sent shall arrive.
                self.settings.stats.streams_closed.inc()
                callbacks.filter = None
                callbacks.closing = ClosingStream(stream, self.manager.dispatcher, self.settings.deferred_close_ms)
        else:
            self._close_gracefully()
