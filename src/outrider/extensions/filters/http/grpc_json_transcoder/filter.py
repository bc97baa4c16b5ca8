"""The filter of a stream: JSON in, gRPC to the upstream, and back.

Source: Envoy documentation, "gRPC-JSON transcoder".
"""

from __future__ import annotations

from typing import Final

from outrider.data.grpc_status import INVALID_CODE, OK, is_grpc_content_type, parse_status, to_http_status
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import (
    CONTENT_LENGTH,
    CONTENT_TYPE,
    GRPC_MESSAGE,
    GRPC_STATUS,
    TE,
    TRAILER,
    X_ENVOY_ORIGINAL_PATH,
)
from outrider.data.stream_info import HTTP2
from outrider.extensions.filters.http.grpc_json_transcoder.methods import FieldPathError, Method, resolve_field_path
from outrider.extensions.filters.http.grpc_json_transcoder.request import (
    Binding,
    HttpBodyTranslator,
    RequestTranslator,
    TranslationError,
)
from outrider.extensions.filters.http.grpc_json_transcoder.response import (
    STREAM_EVENTS,
    AnswerError,
    ResponseTranslator,
)
from outrider.extensions.filters.http.grpc_json_transcoder.rpc_status import STATUS_DETAILS, rpc_status
from outrider.extensions.filters.http.grpc_json_transcoder.settings import TranscoderSettings, TranscoderStats
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_NO_BUFFER,
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    HttpFilter,
)
from outrider.http.grpc_status import is_grpc_response

_EARLY: Final = "early_grpc_json_transcode_failure"
_FAILED: Final = "grpc_json_transcode_failure"
_GRPC: Final = b"application/grpc"
_JSON: Final = b"application/json"
_EVENTS: Final = b"text/event-stream"
_ORIGINAL_METHOD: Final = b"x-envoy-original-method"
# What gRPC servers send at most by default.
_MAX_BODY_FRAME: Final = 4 * 1024 * 1024
_LIMIT: Final = "because the transcoder's internal buffer size exceeds the configured limit."


class TranscoderFilter(HttpFilter):
    __slots__ = (
        "settings", "stats", "method", "request", "response", "failed", "has_body", "_answer", "_answer_size",
        "_body_typed", "_held_request", "_held_response",
    )  # fmt: skip

    def __init__(self, settings: TranscoderSettings, stats: TranscoderStats) -> None:
        self.settings = settings
        self.stats = stats
        # Set for a request that is transcoded.
        self.method: Method | None = None
        self.request: RequestTranslator | HttpBodyTranslator | None = None
        self.response: ResponseTranslator | None = None
        self.failed = False
        self.has_body = False
        # JSON of a unary answer, until its status is known.
        self._answer: list[bytes] = []
        self._answer_size = 0
        # The content type of an HttpBody has been set.
        self._body_typed = False
        self._held_request = 0
        self._held_response = 0

    # --- the request ---

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        route = self.manager.route()
        if route is not None:
            special = route.per_filter_config(self.config_name)
            if isinstance(special, TranscoderSettings):
                self.settings = special
        settings = self.settings
        content_type = headers.single.get(CONTENT_TYPE, b"")
        if not settings.enabled or is_grpc_content_type(content_type):
            return HEADERS_CONTINUE
        path, _, query = headers.path.decode("latin-1").partition("?")
        found = settings.matcher.find(headers.method.decode("latin-1"), path, query)
        if found is None:
            if not settings.reject_unknown_method:
                return HEADERS_CONTINUE
            self._refuse(404, f"Could not resolve {path} to a method.", f"{_EARLY}{{NOT_FOUND}}")
            return HEADERS_STOP_ITERATION
        method, values = found
        unknown: dict[str, list[str]] = {}
        try:
            bindings = self._resolve(method, values, unknown)
        except FieldPathError as error:
            if not settings.reject_unknown_parameters:
                return HEADERS_CONTINUE
            self._refuse(400, str(error), f"{_EARLY}{{INVALID_ARGUMENT}}")
            return HEADERS_STOP_ITERATION
        self._begin(method, bindings, content_type, unknown)
        self._edit(headers, method)
        if not settings.match_incoming_route:
            self.manager.clear_route_cache()
        if end_stream:
            frames = self._translate(b"", True, _EARLY)
            if frames is None:
                return HEADERS_STOP_ITERATION
            if frames:
                self.manager.add_decoded_data(self, frames, True)
        return HEADERS_CONTINUE

    def _resolve(self, method: Method, values: list[tuple[str, str]], unknown: dict[str, list[str]]) -> list[Binding]:
        bindings: list[Binding] = []
        for path, value in values:
            try:
                fields = resolve_field_path(method.input_type, path)
            except FieldPathError:
                if self.settings.capture_unknown:
                    unknown.setdefault(path, []).append(value)
                    continue
                if self.settings.ignore_unknown:
                    continue
                raise
            if method.body_is_http and fields[: len(method.body_path)] == method.body_path:
                # Not to be set from outside.
                continue
            bindings.append(Binding(fields, value))
        return bindings

    def _begin(
        self, method: Method, bindings: list[Binding], content_type: bytes, unknown: dict[str, list[str]]
    ) -> None:
        settings = self.settings
        self.method = method
        limit = self.manager.buffer_limit
        if 0 < limit < max(settings.max_request or 0, settings.max_response or 0):
            self.manager.set_decoder_buffer_limit(max(settings.max_request or 0, settings.max_response or 0))
        if method.body_is_http:
            self.request = HttpBodyTranslator(method, settings.request, bindings, content_type, unknown)
        else:
            self.request = RequestTranslator(method, settings.request, bindings)
        # Whole frames are held for a while; other responses are bounded in `encode_data`.
        frame_limit = settings.max_response or max(limit, _MAX_BODY_FRAME) if method.answer_is_http else 0
        self.response = ResponseTranslator(method, settings.writer, settings.style, frame_limit)

    def _edit(self, headers: RequestHeaderMap, method: Method) -> None:
        headers.remove(CONTENT_LENGTH)
        headers.set(CONTENT_TYPE, _GRPC)
        headers.set(X_ENVOY_ORIGINAL_PATH, headers.path)
        headers.add(_ORIGINAL_METHOD, headers.method)
        headers.path = method.full_path
        headers.method = b"POST"
        headers.set(TE, b"trailers")

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        if self.request is None:
            return DATA_CONTINUE
        if self.failed:
            return DATA_STOP_NO_BUFFER
        frames = self._translate(data, end_stream, _FAILED)
        if frames is not None and (frames or end_stream):
            self.manager.inject_decoded_data(self, frames, end_stream)
        return DATA_STOP_NO_BUFFER

    def decode_trailers(self, trailers: HeaderMap) -> int:
        if self.request is not None and not self.failed:
            frames = self._translate(b"", True, _FAILED)
            if frames:
                self.manager.inject_decoded_data(self, frames, False)
        return TRAILERS_CONTINUE

    def _translate(self, data: bytes, end_stream: bool, details: str) -> bytes | None:
        """Frames; None when the request was refused."""
        request = self.request
        assert request is not None
        limit = self.settings.max_request
        if limit is None:
            limit = self.manager.buffer_limit
        streams_raw = isinstance(request, HttpBodyTranslator) and request.method.client_streaming
        if limit and not streams_raw and request.held + len(data) > limit:
            self._refuse(413, f"Request rejected {_LIMIT}", f"{_FAILED}{{request_buffer_size_limit_reached}}")
            return None
        try:
            frames = request.feed(data, end_stream)
        except TranslationError as error:
            self._refuse(400, str(error), f"{details}{{INVALID_ARGUMENT}}")
            return None
        self._note_request(request.held)
        return frames

    def _refuse(self, code: int, body: str, details: str) -> None:
        self.failed = True
        self.manager.send_local_reply(code, body, details)

    def _note_request(self, held: int) -> None:
        self.stats.request_bytes.add(held - self._held_request)
        self._held_request = held

    def _note_response(self, held: int) -> None:
        self.stats.response_bytes.add(held - self._held_response)
        self._held_response = held

    def on_destroy(self) -> None:
        self._note_request(0)
        self._note_response(0)

    # --- the response ---

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        method = self.method
        if self.failed or method is None:
            return HEADERS_CONTINUE
        if not is_grpc_response(headers, end_stream):
            self.failed = True
            return HEADERS_CONTINUE
        kind = _EVENTS if method.server_streaming and self.settings.style == STREAM_EVENTS else _JSON
        if end_stream:
            if method.server_streaming:
                headers.set(CONTENT_TYPE, kind)
            body = self._end(headers, headers)
            if body:
                self.manager.add_encoded_data(self, body, True)
            return HEADERS_CONTINUE
        headers.set(CONTENT_TYPE, kind)
        if method.server_streaming and not method.answer_is_http:
            return HEADERS_CONTINUE
        return HEADERS_STOP_ITERATION

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        response = self.response
        if self.failed or response is None:
            return DATA_CONTINUE
        self.has_body = True
        http_body = response.method.answer_is_http
        limit = self.settings.max_response
        if limit is None:
            limit = self.manager.buffer_limit
        if not http_body and limit and response.held + len(data) + self._answer_size > limit:
            self._refuse(500, f"Response not transcoded {_LIMIT}", f"{_FAILED}{{response_buffer_size_limit_reached}}")
            return DATA_STOP_NO_BUFFER
        try:
            if http_body:
                self._pass_http_body(response, data, end_stream)
                return DATA_STOP_NO_BUFFER
            text = response.feed(data)
        except AnswerError as error:
            self._refuse(502, str(error), f"{_FAILED}{{INTERNAL}}")
            return DATA_STOP_NO_BUFFER
        if not response.method.server_streaming:
            self._answer.append(text)
            self._answer_size += len(text)
            if not end_stream:
                self._note_response(response.held + self._answer_size)
                return DATA_STOP_NO_BUFFER
            text = b"".join(self._answer)
        if end_stream:
            text += response.finish()
        if text or end_stream:
            self.manager.inject_encoded_data(self, text, end_stream)
        return DATA_STOP_NO_BUFFER

    def encode_trailers(self, trailers: HeaderMap) -> int:
        headers = self.manager.response_headers
        if not self.failed and self.response is not None and headers is not None:
            body = self._end(headers, trailers)
            if body and not self.failed:
                self.manager.inject_encoded_data(self, body, False)
        return TRAILERS_CONTINUE

    def _pass_http_body(self, response: ResponseTranslator, data: bytes, end_stream: bool) -> None:
        """The bodies in the messages, as they are; the first one's content type is that of the response."""
        headers = self.manager.response_headers
        streaming = response.method.server_streaming
        passed: list[bytes] = []
        for message in response.messages(data):
            if message.ByteSize() == 0:
                continue
            body = response.http_body(message)
            if headers is not None and not self._body_typed:
                self._body_typed = True
                headers.set(CONTENT_TYPE, body.content_type.encode())
                if not streaming:
                    headers.set(CONTENT_LENGTH, b"%d" % len(body.data))
            passed.append(body.data)
        if streaming:
            if passed or end_stream:
                self.manager.inject_encoded_data(self, b"".join(passed), end_stream)
            return
        self._answer += passed
        self._answer_size += sum(map(len, passed))
        limit = self.settings.max_response or self.manager.buffer_limit
        if limit and self._answer_size > limit:
            raise AnswerError("the body is larger than allowed")
        if end_stream:
            self.manager.inject_encoded_data(self, b"".join(self._answer), True)

    def _end(self, headers: ResponseHeaderMap, trailers: HeaderMap) -> bytes:
        """The gRPC status is known (`trailers` are the headers where there is nothing else); what is left to send."""
        response = self.response
        assert response is not None
        method = response.method
        value = trailers.get(GRPC_STATUS)
        status = None if value is None else parse_status(value)
        only = trailers is headers
        if status is not None and status not in (OK, INVALID_CODE) and self._convert(headers, trailers, status, only):
            return self._answer[0]
        body = b"" if method.answer_is_http and method.server_streaming else b"".join(self._answer)
        if not method.answer_is_http:
            body += response.finish()
        if method.server_streaming and not only:
            return body
        if status is None or status == INVALID_CODE:
            headers.status = 503
        else:
            headers.status = to_http_status(status)
            if not only:
                headers.set(GRPC_STATUS, b"%d" % status)
        if not only:
            message = trailers.get(GRPC_MESSAGE)
            if message is not None:
                headers.set(GRPC_MESSAGE, message)
        if self.manager.stream_info.protocol < HTTP2:
            headers.remove(TRAILER)
        if not method.server_streaming:
            headers.set(CONTENT_LENGTH, b"%d" % len(body))
        return body

    def _convert(self, headers: ResponseHeaderMap, trailers: HeaderMap, status: int, only: bool) -> bool:
        """Make the body of a failed call without one: google.rpc.Status. False where that is not wanted."""
        status_class = self.settings.status_class
        if status_class is None or self.has_body:
            return False
        twin = status_class()
        twin.ParseFromString(rpc_status(trailers, status))
        try:
            text = self.settings.writer.write(twin)
        except (TypeError, ValueError):
            # An Any of a type that the descriptor set does not hold.
            return False
        headers.status = to_http_status(status)
        if only:
            for name in (GRPC_STATUS, GRPC_MESSAGE, STATUS_DETAILS):
                headers.remove(name)
        if self.manager.stream_info.protocol < HTTP2:
            headers.remove(TRAILER)
        headers.set(CONTENT_TYPE, _JSON)
        headers.set(CONTENT_LENGTH, b"%d" % len(text))
        self._answer = [text]
        return True
