"""envoy.filters.network.wasm: a plugin in a Wasm module sees and changes the bytes of a connection.

Source: the Proxy-Wasm specification; Envoy documentation, "Wasm network filter".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.filter_state import StringState
from outrider.data.stream_info import PROTOCOL_NONE, StreamInfo
from outrider.extensions.attributes import Activation
from outrider.extensions.wasm import abi
from outrider.extensions.wasm.context import RootContext, WasmContext
from outrider.extensions.wasm.plugin import WasmPlugin
from outrider.network.connection import Connection
from outrider.network.filter import (
    CLOSE_FLUSH_WRITE,
    CLOSE_NO_FLUSH,
    CONTINUE,
    EVENT_CONNECTED,
    EVENT_REMOTE_CLOSE,
    STOP,
    NetworkFilter,
)
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.network.wasm.v3.Wasm"
_STATE_PREFIX: Final = "wasm."
# PeerType: who closed.
_LOCAL: Final = 1
_REMOTE: Final = 2


class NetworkContext(WasmContext):
    """A connection, as the module sees it."""

    def __init__(self, owner: WasmNetworkFilter, root: RootContext) -> None:
        super().__init__(root.vm, root.plugin, root)
        self.filter = owner
        info = owner.connection.info
        self.info = StreamInfo(info, info.start_time_ns, info.start_mono_ns, PROTOCOL_NONE)
        # Bytes that a hook looks at now.
        self.data: dict[int, bytes] = {}

    def buffer(self, kind: int) -> bytes | None:
        if kind in (abi.DOWNSTREAM_DATA, abi.UPSTREAM_DATA):
            return self.data.get(kind)
        return super().buffer(kind)

    def set_buffer(self, kind: int, data: bytes) -> bool:
        if kind not in self.data:
            return False
        self.data[kind] = data
        return True

    def activation(self) -> Activation:
        context = self.plugin.context
        return Activation(self.info, None, None, None, None, context.server, context.traffic_direction)

    def set_property(self, key: str, value: bytes) -> bool:
        info = self.filter.connection.info
        if info.filter_state is None:
            info.filter_state = {}
        info.filter_state[_STATE_PREFIX + key] = StringState(value.decode("utf-8", "surrogateescape"))
        return True

    def own_property(self, key: str) -> bytes | None:
        held = (self.filter.connection.info.filter_state or {}).get(_STATE_PREFIX + key)
        return held.text.encode("utf-8", "surrogateescape") if isinstance(held, StringState) else None

    def continue_stream(self, kind: int) -> bool:
        return self.filter.go_on(kind)

    def close_stream(self, kind: int) -> bool:
        if self.filter.closed or kind not in (abi.STREAM_DOWNSTREAM, abi.STREAM_UPSTREAM):
            return False
        self.filter.connection.close(CLOSE_FLUSH_WRITE, "wasm_close_stream")
        return True

    def done(self) -> None:
        if self.filter.closed:
            self.vm.after(self.finish)

    def finish(self) -> None:
        if self.alive:
            self.vm.call("proxy_on_log", self.number, context=self)
        self.delete()


class WasmNetworkFilter(NetworkFilter):
    def __init__(self, plugin: WasmPlugin) -> None:
        self.plugin = plugin
        self.context: NetworkContext | None = None
        self.closed = False
        self.close_told = False
        # Bytes held back for the module, which sees them again with those that follow.
        self.held = b""
        self.held_end = False
        self.paused = False

    def initialize(self, connection: Connection) -> None:
        NetworkFilter.initialize(self, connection)
        connection.add_callbacks(self)

    def on_new_connection(self) -> int:
        root = self.plugin.running()
        if root is None:
            return self._failed()
        self.context = context = NetworkContext(self, root)
        context.create()
        status = context.vm.call("proxy_on_new_connection", context.number, context=context)
        if context.vm.failed:
            return self._failed()
        return STOP if status else CONTINUE

    def on_data(self, data: bytes, end_stream: bool) -> int:
        context = self.context
        if context is None:
            return CONTINUE if self.plugin.fail_open else STOP
        whole = self.held + data
        changed, status = self._show("proxy_on_downstream_data", abi.DOWNSTREAM_DATA, whole, end_stream)
        if context.vm.failed:
            return self._failed()
        if status:
            self.held, self.held_end = changed, end_stream
            limit = self.connection.buffer_limit
            if limit and len(changed) > limit and not self.paused:
                self.paused = True
                self.connection.read_disable(True)
            return STOP
        self.held = b""
        if changed == data:
            return CONTINUE
        self.continue_reading(changed, end_stream)
        return STOP

    def on_write(self, data: bytes, end_stream: bool) -> int:
        context = self.context
        if context is None:
            return CONTINUE
        changed, status = self._show("proxy_on_upstream_data", abi.UPSTREAM_DATA, data, end_stream)
        if context.vm.failed:
            return self._failed()
        if status:
            return STOP
        if changed == data:
            return CONTINUE
        self.connection.continue_writing(self, changed, end_stream)
        return STOP

    def _show(self, name: str, kind: int, data: bytes, end_stream: bool) -> tuple[bytes, int]:
        context = self.context
        assert context is not None
        context.data[kind] = data
        status = context.vm.call(name, context.number, len(data), int(end_stream), context=context)
        return context.data.pop(kind, data), status or 0

    def go_on(self, kind: int) -> bool:
        if self.closed or kind != abi.STREAM_DOWNSTREAM:
            return False
        data, end = self.held, self.held_end
        self.held, self.held_end = b"", False
        if self.paused:
            self.paused = False
            self.connection.read_disable(False)
        self.continue_reading(data, end)
        return True

    def _failed(self) -> int:
        self.context = None
        if self.plugin.fail_open:
            return CONTINUE
        self.connection.close(CLOSE_NO_FLUSH, "wasm_fail_stream")
        return STOP

    def on_event(self, event: int) -> None:
        context = self.context
        if event == EVENT_CONNECTED or context is None or self.close_told:
            return
        self.close_told = True
        who = _REMOTE if event == EVENT_REMOTE_CLOSE else _LOCAL
        context.vm.call("proxy_on_downstream_connection_close", context.number, who, context=context)

    def on_destroy(self) -> None:
        self.closed = True
        context, self.context = self.context, None
        if context is None:
            return
        vm = context.vm
        if vm.has("proxy_on_done") and not vm.call("proxy_on_done", context.number, context=context) and not vm.failed:
            return
        context.finish()


class WasmNetworkFactory(NetworkFilterFactory):
    def __init__(self, plugin: WasmPlugin) -> None:
        self.plugin = plugin

    def create(self) -> NetworkFilter:
        return WasmNetworkFilter(self.plugin)


@NETWORK_FILTERS.register("envoy.filters.network.wasm", TYPE, "envoy.wasm")
def create(config: View, context: FactoryContext) -> NetworkFilterFactory:
    """Raises ConfigError."""
    view = config.message("config")
    if view is None:
        raise config.error("value is required", "config")
    return WasmNetworkFactory(WasmPlugin(view, context))
