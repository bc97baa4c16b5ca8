"""envoy.access_loggers.wasm: a plugin is told of each request that is logged (`proxy_on_log`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.access_log.access_log import ACCESS_LOGGERS, AccessLog
from outrider.access_log.context import FormatContext
from outrider.data.header_map import HeaderMap
from outrider.extensions.attributes import Activation
from outrider.extensions.wasm import abi
from outrider.extensions.wasm.context import RootContext, WasmContext
from outrider.extensions.wasm.plugin import WasmPlugin

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.access_loggers.wasm.v3.WasmAccessLog"


class LogContext(WasmContext):
    """A request that is over: everything can be read, nothing changed."""

    def __init__(self, root: RootContext, entry: FormatContext) -> None:
        super().__init__(root.vm, root.plugin, root)
        self.entry = entry

    def header_map(self, kind: int) -> HeaderMap | None:
        entry = self.entry
        if kind == abi.REQUEST_HEADERS:
            return entry.request_headers
        if kind == abi.RESPONSE_HEADERS:
            return entry.response_headers
        if kind == abi.RESPONSE_TRAILERS:
            return entry.response_trailers
        return super().header_map(kind)

    def activation(self) -> Activation:
        entry, context = self.entry, self.plugin.context
        return Activation(
            entry.stream_info, entry.request_headers, entry.response_headers, entry.response_trailers,
            entry.stream_info.route, context.server, context.traffic_direction,
        )  # fmt: skip


class WasmAccessLog(AccessLog):
    def __init__(self, plugin: WasmPlugin) -> None:
        self.plugin = plugin

    def emit(self, context: FormatContext) -> None:
        root = self.plugin.running()
        if root is None:
            return
        told = LogContext(root, context)
        told.create()
        told.vm.call("proxy_on_log", told.number, context=told)
        told.delete()


@ACCESS_LOGGERS.register("envoy.access_loggers.wasm", TYPE, "envoy.wasm_access_log")
def create(config: View, context: FactoryContext) -> AccessLog:
    """Raises ConfigError."""
    view = config.message("config")
    if view is None:
        raise config.error("value is required", "config")
    return WasmAccessLog(WasmPlugin(view, context))
