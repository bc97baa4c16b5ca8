"""The filter: runs the scripts of a stream, one for each direction."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.extensions.filters.http.lua.call import CallOptions, HttpCall, request_of
from outrider.extensions.filters.http.lua.handle import (
    HTTP_CALL,
    RESPONDED,
    RUNNING,
    WAIT,
    WAIT_FOR_BODY,
    WAIT_FOR_CHUNK,
    WAIT_FOR_TRAILERS,
    StreamHandle,
)
from outrider.extensions.filters.http.lua.values import Body, LuaFault, want_text
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
    from outrider.extensions.filters.http.lua.script import Script
    from outrider.extensions.filters.http.lua.settings import LuaRoute, LuaSettings

_log: Final = logging.getLogger("outrider.lua")


class LuaFilter(HttpFilter):
    request_handle: StreamHandle | None = None
    response_handle: StreamHandle | None = None

    def __init__(self, settings: LuaSettings) -> None:
        self.settings = settings

    # --- which script ---

    def _route_config(self) -> LuaRoute | None:
        from outrider.extensions.filters.http.lua.settings import LuaRoute

        route = self.manager.route()
        special = None if route is None else route.per_filter_config(self.config_name)
        return special if isinstance(special, LuaRoute) else None

    def _script(self) -> Script | None:
        special = self._route_config()
        if special is None:
            return self.settings.script
        if special.disabled:
            return None
        if special.name:
            return self.settings.scripts.get(special.name)
        return special.script or self.settings.script

    def context_values(self) -> dict[str, object]:
        """`filter_context` of the route, or the filter's own."""
        special = self._route_config()
        if special is not None and special.context is not None:
            return special.context
        return self.settings.context

    # --- the request ---

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        script = self._script()
        if script is None or script.on_request is None:
            return HEADERS_CONTINUE
        self.request_handle = handle = StreamHandle(self, script, script.on_request, headers, end_stream, False)
        return self._start(handle)

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        handle = self.request_handle
        return DATA_CONTINUE if handle is None else self._data(handle, data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> int:
        handle = self.request_handle
        return TRAILERS_CONTINUE if handle is None else self._trailers(handle, trailers)

    # --- the response ---

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        script = self._script()
        if script is None or script.on_response is None:
            return HEADERS_CONTINUE
        self.response_handle = handle = StreamHandle(self, script, script.on_response, headers, end_stream, True)
        return self._start(handle)

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        handle = self.response_handle
        return DATA_CONTINUE if handle is None else self._data(handle, data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> int:
        handle = self.response_handle
        return TRAILERS_CONTINUE if handle is None else self._trailers(handle, trailers)

    # --- both ---

    def _start(self, handle: StreamHandle) -> int:
        self.settings.executions.inc()
        handle.resume()
        if not handle.failed and handle.state in (WAIT_FOR_BODY, HTTP_CALL, RESPONDED):
            return HEADERS_STOP_ITERATION
        handle.headers_continued = True
        return HEADERS_CONTINUE

    def _data(self, handle: StreamHandle, data: bytes, end_stream: bool) -> int:
        handle.end_stream = end_stream
        handle.saw_body = True
        state = handle.state
        # The chunk is in the stream's buffer already, or has another content now.
        taken = False
        replaced: bytes | None = None
        if state == WAIT_FOR_CHUNK:
            chunk = Body(data, handle.map)
            handle.resume(chunk, "body")
            if chunk.changed:
                replaced = chunk.data
        elif state == WAIT_FOR_BODY and end_stream:
            handle.add_data(data)
            taken = True
            handle.resume(handle.whole_body(), "body")
        elif state == WAIT_FOR_TRAILERS and end_stream:
            handle.resume()
        state = RUNNING if handle.failed else handle.state
        if state == RESPONDED:
            return DATA_STOP_NO_BUFFER
        if state in (HTTP_CALL, WAIT_FOR_BODY):
            if taken:
                return DATA_STOP_NO_BUFFER
            if replaced is not None:
                handle.add_data(replaced)
                return DATA_STOP_NO_BUFFER
            return DATA_STOP_AND_WATERMARK if state == HTTP_CALL else DATA_STOP_AND_BUFFER
        handle.headers_continued = True
        if taken:
            self._continue(handle)
            return DATA_STOP_NO_BUFFER
        if replaced is not None:
            if handle.encoding:
                self.manager.inject_encoded_data(self, replaced, end_stream)
            else:
                self.manager.inject_decoded_data(self, replaced, end_stream)
            return DATA_STOP_NO_BUFFER
        return DATA_CONTINUE

    def _trailers(self, handle: StreamHandle, trailers: HeaderMap) -> int:
        handle.end_stream = True
        handle.trailer_map = trailers
        if handle.state == WAIT_FOR_CHUNK:
            handle.resume()
        elif handle.state == WAIT_FOR_BODY:
            handle.resume(handle.whole_body(), "body")
        if not handle.failed and handle.state == WAIT_FOR_TRAILERS:
            handle.resume(handle.trailer_headers(), "headers")
        if not handle.failed and handle.state in (HTTP_CALL, RESPONDED):
            return TRAILERS_STOP
        handle.headers_continued = True
        return TRAILERS_CONTINUE

    def _continue(self, handle: StreamHandle) -> None:
        if handle.encoding:
            self.continue_encoding()
        else:
            self.continue_decoding()

    # --- calls ---

    def http_call(
        self, handle: StreamHandle, cluster: object, headers: object, body: object, options: object, flag: object
    ) -> object:
        """`httpCall`: the outcome, or WAIT. Raises LuaFault."""
        wanted = CallOptions(options, flag)
        name = want_text(cluster, 1, "httpCall").decode("utf-8", "surrogateescape")
        client = self.settings.client
        if client.clusters.get(name) is None:
            raise LuaFault("http call cluster invalid. Must be configured")
        request, data = request_of(headers, body)
        call = HttpCall(None if wanted.asynchronous else handle, wanted.duplicates)
        call.start(client, name, request, data, wanted)
        if wanted.asynchronous:
            return None
        if call.done:
            return call.outcome
        handle.call = call
        handle.state = HTTP_CALL
        return WAIT

    def on_call_done(self, handle: StreamHandle, outcome: object) -> None:
        if handle.failed:
            return
        handle.resume(outcome)
        if handle.failed or handle.state == RUNNING:
            handle.headers_continued = True
            self._continue(handle)

    # --- the end ---

    def script_error(self, problem: str) -> None:
        """No script of this stream runs on; the message does."""
        self.settings.errors.inc()
        _log.error("script log: %s", problem)
        for handle in (self.request_handle, self.response_handle):
            if handle is not None:
                handle.destroy()
        self.request_handle = None
        self.response_handle = None

    def on_destroy(self) -> None:
        for handle in (self.request_handle, self.response_handle):
            if handle is not None:
                handle.destroy()
        self.request_handle = None
        self.response_handle = None
