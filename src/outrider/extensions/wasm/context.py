"""Contexts: what a call into a module is about."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from outrider.event.timer import Timer, TimerOwner
from outrider.extensions.wasm import abi
from outrider.stats.metrics import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from outrider.data.header_map import HeaderMap
    from outrider.extensions.attributes import Activation
    from outrider.extensions.wasm.calls import PluginCall
    from outrider.extensions.wasm.plugin import WasmPlugin
    from outrider.extensions.wasm.vm import WasmVm

_log: Final = logging.getLogger("outrider.wasm")
_LEVELS: Final = (5, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


class WasmContext(TimerOwner):
    """Base of all: has no message, so most of what a module may ask for is not there."""

    def __init__(self, vm: WasmVm, plugin: WasmPlugin, root: RootContext | None) -> None:
        self.vm = vm
        self.plugin = plugin
        self.root = root
        self.number = vm.add_context(self)
        # `proxy_on_context_create` has been called, `proxy_on_delete` not yet.
        self.alive = False

    def create(self) -> None:
        parent = 0 if self.root is None else self.root.number
        self.alive = True
        self.vm.call("proxy_on_context_create", self.number, parent, context=self)

    def log(self, level: int, text: str) -> None:
        number = _LEVELS[level] if 0 <= level < len(_LEVELS) else logging.INFO
        _log.log(number, "wasm log %s: %s", f"{self.plugin.name} {self.plugin.root_id}".strip(), text)

    def delete(self) -> None:
        if self.alive:
            self.alive = False
            self.vm.call("proxy_on_delete", self.number, context=self)
        self.vm.remove_context(self.number)
        calls = self.root_context().calls
        for token in [token for token, call in calls.items() if call.context is self]:
            calls.pop(token).cancel()

    # What a module may ask for; overridden by those that have it.

    def header_map(self, kind: int) -> HeaderMap | None:
        root = self.root_context()
        if kind == abi.CALL_HEADERS:
            return root.call_headers
        if kind == abi.GRPC_INITIAL_METADATA or kind == abi.GRPC_TRAILING_METADATA:
            return root.grpc_metadata
        return None

    def may_change(self, kind: int) -> bool:
        return False

    def buffer(self, kind: int) -> bytes | None:
        root = self.root_context()
        if kind == abi.CALL_BODY:
            return root.call_body
        if kind == abi.GRPC_MESSAGE:
            return root.grpc_message
        return None

    def set_buffer(self, kind: int, data: bytes) -> bool:
        return False

    def headers_changed(self, kind: int) -> None:
        """Fields were changed by the module."""

    def activation(self) -> Activation | None:
        return None

    def set_property(self, key: str, value: bytes) -> bool:
        return False

    def own_property(self, key: str) -> bytes | None:
        return None

    def send_local_response(self, status: int, details: str, body: bytes, headers: abi.Pairs, grpc_status: int) -> bool:
        return False

    def continue_stream(self, kind: int) -> bool:
        return False

    def close_stream(self, kind: int) -> bool:
        return False

    def clear_route_cache(self) -> None:
        """Look the route up anew."""

    def done(self) -> None:
        """`proxy_done`: what was put off may now end."""

    def root_context(self) -> RootContext:
        assert self.root is not None
        return self.root


class RootContext(WasmContext):
    """A plugin's own: configured once, ticks, has metrics and calls."""

    def __init__(self, vm: WasmVm, plugin: WasmPlugin) -> None:
        super().__init__(vm, plugin, None)
        self.metrics: list[Counter | Gauge | Histogram] = []
        self.calls: dict[int, PluginCall] = {}
        self.next_token = 1
        self.tick_ms = 0
        self.timer: Timer | None = None
        # What the answer of a call, while the module is told of it, looks like.
        self.call_headers: HeaderMap | None = None
        self.call_body: bytes | None = None
        self.grpc_metadata: HeaderMap | None = None
        self.grpc_message: bytes | None = None
        # What the module is being told now: it can be read at no other time.
        self.shown: tuple[int, bytes] | None = None

    def buffer(self, kind: int) -> bytes | None:
        if self.shown is not None and self.shown[0] == kind:
            return self.shown[1]
        return super().buffer(kind)

    def start(self) -> bool:
        """Whether the module accepts its configuration."""
        self.create()
        vm, plugin = self.vm, self.plugin
        steps = (
            ("proxy_on_vm_start", abi.VM_CONFIGURATION, plugin.vm_configuration),
            ("proxy_on_configure", abi.PLUGIN_CONFIGURATION, plugin.configuration),
        )
        for name, kind, data in steps:
            self.shown = (kind, data)
            accepted = not vm.has(name) or bool(vm.call(name, self.number, len(data), context=self))
            self.shown = None
            if not accepted or vm.failed:
                return False
        return True

    def root_context(self) -> RootContext:
        return self

    def set_tick(self, period_ms: int) -> None:
        self.tick_ms = period_ms
        if self.plugin.context.is_main:
            # Main only checks configuration.
            return
        if self.timer is None:
            self.timer = self.plugin.context.dispatcher.timer(self, 0)
        self.timer.disarm()
        if period_ms > 0:
            self.timer.arm(period_ms)

    def on_timer(self, kind: int) -> None:
        if self.vm.failed or self.timer is None:
            return
        self.vm.call("proxy_on_tick", self.number, context=self)
        if self.tick_ms > 0 and not self.vm.failed and not self.timer.armed:
            self.timer.arm(self.tick_ms)

    def on_queue_ready(self, token: int) -> None:
        if not self.vm.failed:
            self.vm.after(lambda: self._tell_queue(token))

    def _tell_queue(self, token: int) -> None:
        self.vm.call("proxy_on_queue_ready", self.number, token, context=self)

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.disarm()
            self.timer = None
        for call in list(self.calls.values()):
            call.cancel()
        self.calls.clear()
