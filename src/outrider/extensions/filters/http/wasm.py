"""envoy.filters.http.wasm: a plugin in a Wasm module sees and changes requests and responses.

Source: the Proxy-Wasm specification; Envoy documentation, "Wasm".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.filter_state import StringState
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.extensions.wasm import abi
from outrider.extensions.wasm.context import RootContext, WasmContext
from outrider.extensions.wasm.plugin import WasmPlugin
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_AND_BUFFER,
    DATA_STOP_AND_WATERMARK,
    DATA_STOP_NO_BUFFER,
    HEADERS_CONTINUE,
    HEADERS_STOP_ALL_AND_BUFFER,
    HEADERS_STOP_ALL_AND_WATERMARK,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    TRAILERS_STOP,
    HttpFilter,
    HttpFilterFactory,
    LocalReplyModifier,
)
from outrider.http.filter_registry import HTTP_FILTERS

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.extensions.attributes import Activation
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.http.wasm.v3.Wasm"
_STATE_PREFIX: Final = "wasm."
_RESET_LOCAL: Final = 1
# Statuses as modules give them.
_DATA_STATUS: Final = {
    0: DATA_CONTINUE, 1: DATA_STOP_AND_BUFFER, 2: DATA_STOP_AND_WATERMARK, 3: DATA_STOP_NO_BUFFER,
}  # fmt: skip


class _Fields(LocalReplyModifier):
    def __init__(self, pairs: abi.Pairs) -> None:
        self.pairs = pairs

    def modify(self, headers: ResponseHeaderMap) -> None:
        for name, value in self.pairs:
            if name[:1] != b":" and not any(byte in value for byte in b"\r\n\0"):
                headers.add(name.lower(), value)


class HttpContext(WasmContext):
    """A stream, as the module sees it."""

    def __init__(self, owner: WasmFilter, root: RootContext) -> None:
        super().__init__(root.vm, root.plugin, root)
        self.filter = owner
        # The body that is looked at now, while a hook runs.
        self.body: dict[int, bytes] = {}
        self.body_changed = False

    def header_map(self, kind: int) -> HeaderMap | None:
        manager = self.filter.manager
        if kind == abi.REQUEST_HEADERS:
            return manager.request_headers
        if kind == abi.RESPONSE_HEADERS:
            return manager.response_headers
        if kind == abi.REQUEST_TRAILERS:
            if manager.request_trailers is None and self.filter.last_of(False):
                return manager.add_decoded_trailers()
            return manager.request_trailers
        if kind == abi.RESPONSE_TRAILERS:
            if manager.response_trailers is None and self.filter.last_of(True):
                return manager.add_encoded_trailers()
            return manager.response_trailers
        return super().header_map(kind)

    def may_change(self, kind: int) -> bool:
        return kind <= abi.RESPONSE_TRAILERS

    def headers_changed(self, kind: int) -> None:
        if kind == abi.REQUEST_HEADERS:
            self.filter.manager.clear_route_cache()

    def buffer(self, kind: int) -> bytes | None:
        if kind in (abi.REQUEST_BODY, abi.RESPONSE_BODY):
            held = self.body.get(kind)
            if held is not None:
                return held
            manager = self.filter.manager
            return manager.decoding_buffer() if kind == abi.REQUEST_BODY else manager.encoding_buffer()
        return super().buffer(kind)

    def set_buffer(self, kind: int, data: bytes) -> bool:
        if kind not in (abi.REQUEST_BODY, abi.RESPONSE_BODY):
            return False
        if kind in self.body:
            self.body[kind] = data
            self.body_changed = True
        elif kind == abi.REQUEST_BODY:
            self.filter.manager.modify_decoding_buffer(data)
        else:
            self.filter.manager.modify_encoding_buffer(data)
        return True

    def activation(self) -> Activation:
        return self.plugin.activation(self.filter.manager)

    def set_property(self, key: str, value: bytes) -> bool:
        info = self.filter.manager.stream_info
        if info.filter_state is None:
            info.filter_state = {}
        info.filter_state[_STATE_PREFIX + key] = StringState(value.decode("utf-8", "surrogateescape"))
        return True

    def own_property(self, key: str) -> bytes | None:
        held = (self.filter.manager.stream_info.filter_state or {}).get(_STATE_PREFIX + key)
        return held.text.encode("utf-8", "surrogateescape") if isinstance(held, StringState) else None

    def send_local_response(self, status: int, details: str, body: bytes, headers: abi.Pairs, grpc_status: int) -> bool:
        if not 100 <= status < 600 or self.filter.answered:
            return False
        self.filter.answered = True
        self.vm.after(lambda: self._answer(status, details, body, headers, grpc_status))
        return True

    def _answer(self, status: int, details: str, body: bytes, headers: abi.Pairs, grpc_status: int) -> None:
        if self.filter.destroyed:
            return
        text = body.decode("utf-8", "surrogateescape")
        self.filter.manager.send_local_reply_full(status, text, _Fields(headers), grpc_status, details)

    def continue_stream(self, kind: int) -> bool:
        if self.filter.destroyed:
            return False
        if kind == abi.STREAM_REQUEST:
            self.filter.continue_decoding()
        elif kind == abi.STREAM_RESPONSE:
            self.filter.continue_encoding()
        else:
            return False
        return True

    def close_stream(self, kind: int) -> bool:
        if kind > abi.STREAM_RESPONSE or self.filter.destroyed:
            return False
        self.filter.manager.reset_stream(_RESET_LOCAL, "wasm_close_stream")
        return True

    def clear_route_cache(self) -> None:
        self.filter.manager.clear_route_cache()

    def done(self) -> None:
        if self.filter.destroyed:
            self.vm.after(self.finish)

    def finish(self) -> None:
        """The module has nothing more to do with the stream."""
        if self.alive:
            self.vm.call("proxy_on_log", self.number, context=self)
        self.delete()


class WasmFilter(HttpFilter):
    def __init__(self, plugin: WasmPlugin) -> None:
        self.plugin = plugin
        self.context: HttpContext | None = None
        self.answered = False
        self.destroyed = False
        # The module buffers the body: it is shown all of it.
        self.buffering = {False: False, True: False}
        self.ended = {False: False, True: False}

    def last_of(self, encoding: bool) -> bool:
        """Whether the last data of a message is being looked at."""
        return self.ended[encoding]

    def _begin(self) -> HttpContext | None:
        """The context; None where the plugin does not run."""
        if self.context is None and not self.answered:
            root = self.plugin.running()
            if root is None:
                self._on_failed()
                return None
            self.context = HttpContext(self, root)
            self.context.create()
        return self.context

    def _on_failed(self) -> None:
        """The plugin's machine is not there."""
        self.context = None
        if self.plugin.fail_open or self.answered:
            return
        self.answered = True
        self.manager.send_local_reply_full(503, "", None, 14, "wasm_fail_stream")

    def _headers(self, name: str, encoding: bool, count: int, end_stream: bool) -> int:
        context = self._begin()
        if context is None:
            return HEADERS_STOP_ITERATION if self.answered else HEADERS_CONTINUE
        vm = context.vm
        self.ended[encoding] = end_stream
        numbers = (context.number, count) if vm.old_abi else (context.number, count, int(end_stream))
        status = vm.call(name, *numbers, context=context)
        if vm.failed:
            self._on_failed()
        if self.answered:
            return HEADERS_STOP_ITERATION
        if not status or vm.failed:
            return HEADERS_CONTINUE
        if status == 1:
            return HEADERS_STOP_ITERATION if self.plugin.stops_headers_only else HEADERS_STOP_ALL_AND_WATERMARK
        return HEADERS_STOP_ALL_AND_BUFFER if status == 3 else HEADERS_STOP_ALL_AND_WATERMARK

    def _data(self, name: str, kind: int, encoding: bool, data: bytes, end_stream: bool) -> int:
        context = self.context
        if context is None:
            return DATA_STOP_NO_BUFFER if self.answered else DATA_CONTINUE
        vm, manager = context.vm, self.manager
        self.ended[encoding] = end_stream
        buffered = self.buffering[encoding]
        if buffered:
            if encoding:
                manager.add_encoded_data(self, data, False)
                data = manager.encoding_buffer() or b""
            else:
                manager.add_decoded_data(self, data, False)
                data = manager.decoding_buffer() or b""
        context.body[kind] = data
        context.body_changed = False
        status = vm.call(name, context.number, len(data), int(end_stream), context=context)
        body = context.body.pop(kind, data)
        if vm.failed:
            self._on_failed()
        if self.answered:
            return DATA_STOP_NO_BUFFER
        result = DATA_CONTINUE if vm.failed else _DATA_STATUS.get(status or 0, DATA_CONTINUE)
        if context.body_changed and buffered:
            if encoding:
                manager.modify_encoding_buffer(body)
            else:
                manager.modify_decoding_buffer(body)
        self.buffering[encoding] = result == DATA_STOP_AND_BUFFER
        if buffered:
            if result == DATA_CONTINUE:
                if encoding:
                    self.continue_encoding()
                else:
                    self.continue_decoding()
            return DATA_STOP_NO_BUFFER
        if not context.body_changed:
            return result
        if result == DATA_CONTINUE:
            if encoding:
                manager.inject_encoded_data(self, body, end_stream)
            else:
                manager.inject_decoded_data(self, body, end_stream)
        elif result != DATA_STOP_NO_BUFFER:
            if encoding:
                manager.add_encoded_data(self, body, result == DATA_STOP_AND_WATERMARK)
            else:
                manager.add_decoded_data(self, body, result == DATA_STOP_AND_WATERMARK)
        return DATA_STOP_NO_BUFFER

    def _trailers(self, name: str, trailers: HeaderMap) -> int:
        context = self.context
        if context is None:
            return TRAILERS_STOP if self.answered else TRAILERS_CONTINUE
        status = context.vm.call(name, context.number, trailers.count(), context=context)
        if context.vm.failed:
            self._on_failed()
        if self.answered:
            return TRAILERS_STOP
        return TRAILERS_STOP if status and not context.vm.failed else TRAILERS_CONTINUE

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        return self._headers("proxy_on_request_headers", False, headers.count(), end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        return self._data("proxy_on_request_body", abi.REQUEST_BODY, False, data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> int:
        return self._trailers("proxy_on_request_trailers", trailers)

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        if self.context is None:
            return HEADERS_CONTINUE
        # What the module has answered itself passes by it as any response does.
        answered, self.answered = self.answered, False
        status = self._headers("proxy_on_response_headers", True, headers.count(), end_stream)
        self.answered = self.answered or answered
        return HEADERS_CONTINUE if answered else status

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        if self.answered:
            return DATA_CONTINUE
        return self._data("proxy_on_response_body", abi.RESPONSE_BODY, True, data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> int:
        if self.answered:
            return TRAILERS_CONTINUE
        return self._trailers("proxy_on_response_trailers", trailers)

    def on_destroy(self) -> None:
        self.destroyed = True
        context, self.context = self.context, None
        if context is None:
            return
        vm = context.vm
        if vm.has("proxy_on_done") and not vm.call("proxy_on_done", context.number, context=context) and not vm.failed:
            # The module calls `proxy_done` when it is ready.
            return
        context.finish()


class WasmFilterFactory(HttpFilterFactory):
    def __init__(self, plugin: WasmPlugin) -> None:
        self.plugin = plugin

    def create(self) -> HttpFilter:
        return WasmFilter(self.plugin)


@HTTP_FILTERS.register("envoy.filters.http.wasm", TYPE, "envoy.wasm")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    view = config.message("config")
    if view is None:
        raise config.error("value is required", "config")
    return WasmFilterFactory(WasmPlugin(view, context))
