"""A configured plugin.

Source: Envoy documentation, "Wasm"; `envoy.extensions.wasm.v3`.
"""

from __future__ import annotations

import hashlib
import logging
import os
from random import random
from typing import TYPE_CHECKING, Any, Final

from outrider.config import api
from outrider.config.data_source import read_data_source
from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.event.timer import TimerOwner
from outrider.extensions.attributes import Activation
from outrider.extensions.wasm.context import RootContext
from outrider.extensions.wasm.vm import WasmFailure, WasmVm
from outrider.router.async_client import AsyncCall, AsyncCallbacks, AsyncClient

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_log: Final = logging.getLogger("outrider.wasm")
_RUNTIMES: Final = ("", "envoy.wasm.runtime.v8")
_STRINGS: Final = ("google.protobuf.StringValue", "google.protobuf.BytesValue")
_STRUCT: Final = "google.protobuf.Struct"
# Bytes of code that are fetched.
_MOST_CODE: Final = 256 << 20
_RELOAD: Final = 0
_FETCH: Final = 1
_OK: Final = 200


class WasmPlugin(TimerOwner):
    """One PluginConfig in one process half; `running` gives its root context. Raises ConfigError."""

    def __init__(self, config: View, context: FactoryContext) -> None:
        self.context = context
        self.client = AsyncClient(context)
        self.name = config.text("name")
        self.root_id = config.text("root_id")
        view = config.message("vm_config")
        if view is None:
            raise config.error("value is required", "vm_config")
        self.vm_id = view.text("vm_id")
        self.configuration = _any_bytes(config, "configuration")
        self.vm_configuration = _any_bytes(view, "configuration")
        self.environment = _environment(view)
        # Compiled beforehand for another engine; the module's own code is what counts.
        view.accept("allow_precompiled", "nack_on_code_cache_miss")
        self.fail_open = config.flag("fail_open")
        policy = config.enum("failure_policy")
        if policy == "FAIL_OPEN":
            self.fail_open = True
        self.reloads = policy == "FAIL_RELOAD"
        reload_config = config.message("reload_config")
        back_off = None if reload_config is None else reload_config.message("backoff")
        self.reload_base_ms = 1000 if back_off is None else (back_off.millis("base_interval") or 1000)
        self.reload_max_ms = self.reload_base_ms * 10
        if back_off is not None:
            self.reload_max_ms = back_off.millis("max_interval") or self.reload_base_ms * 10
        self.reload_count = 0
        self.capabilities = _capabilities(config)
        self.stops_headers_only = config.flag("allow_on_headers_stop_iteration")
        # Status of the last gRPC call that ended.
        self.status: tuple[int, str] = (0, "")
        self.metrics_scope = context.root_scope.scope("wasmcustom.")
        runtime = view.text("runtime")
        self.scope = context.root_scope.scope(f"wasm.{runtime or _RUNTIMES[1]}.")
        self.root: RootContext | None = None
        self.code: bytes = b""
        self._remote: _Fetch | None = None
        source = view.message("code")
        if source is None:
            raise view.error("value is required", "code")
        local = source.message("local")
        if local is not None:
            self.code = read_data_source(local)
            try:
                if runtime not in _RUNTIMES:
                    raise WasmFailure(f"runtime {runtime} is not available")
                self._start()
            except WasmFailure as error:
                _log.critical("Plugin %s failed to load: %s", self.name, error)
                raise config.error(f"Unable to create Wasm plugin {self.name}") from None
            return
        remote = source.message("remote")
        if remote is None:
            raise source.error("value is required", "specifier")
        self._remote = _Fetch(self, remote)
        if not context.is_main and context.subscriptions is not None:
            self._remote.start()

    # --- running ---

    def running(self) -> RootContext | None:
        """The root context; None while there is none, after a failure or before the code has come."""
        root = self.root
        if root is not None and not root.vm.failed:
            return root
        return None

    def _start(self) -> None:
        """Make or join the machine, and configure the plugin in it. Raises WasmFailure."""
        machines = self.context.singletons.setdefault("wasm.machines", {})
        assert isinstance(machines, dict)
        key = (self.vm_id, hashlib.sha256(self.code).digest(), self.vm_configuration, tuple(self.environment.items()))
        machine = machines.get(key) if self.vm_id else None
        if not isinstance(machine, WasmVm) or machine.failed:
            machine = WasmVm(self.code, self.environment, self.capabilities)
            machine.active = self.scope.gauge("active")
            machine.active.inc()
            self.scope.counter("created").inc()
            machines[key] = machine
        root = RootContext(machine, self)
        machine.on_failed.append(self._on_failed)
        if not root.start():
            raise WasmFailure("the plugin refused its configuration")
        self.root = root

    def _on_failed(self) -> None:
        root, self.root = self.root, None
        if root is not None:
            root.stop()
        if self.reloads and not self.context.is_main and root is not None:
            longest = min(self.reload_base_ms << min(self.reload_count, 16), self.reload_max_ms)
            self.reload_count += 1
            self.context.dispatcher.timer(self, _RELOAD).arm(int(longest * (0.5 + random() / 2)))

    def on_timer(self, kind: int) -> None:
        if kind == _FETCH:
            if self._remote is not None:
                self._remote.start()
            return
        try:
            self._start()
        except WasmFailure as error:
            _log.error("Plugin %s failed to load again: %s", self.name, error)
            self._on_failed()

    def on_code(self, code: bytes) -> None:
        """The remote code has come."""
        self.code = code
        try:
            self._start()
        except WasmFailure as error:
            _log.critical("Plugin %s failed to load: %s", self.name, error)

    def try_again(self, delay_ms: int) -> None:
        self.context.dispatcher.timer(self, _FETCH).arm(delay_ms)

    def set_status(self, status: int, text: str) -> None:
        self.status = (status, text)

    def server_property(self, path: list[str]) -> object:
        """Attributes that need no stream: `node` and what the listener says."""
        server = self.context.server
        if path[0] == "xds":
            path = path[1:]
        if not path or path[0] not in ("node", "listener_direction", "listener_metadata"):
            return None
        if path[0] == "node":
            value: object = {"id": server.node_id, "cluster": server.node_cluster, "metadata": server.node_metadata}
        elif path[0] == "listener_direction":
            value = {"INBOUND": 1, "OUTBOUND": 2}.get(self.context.traffic_direction, 0)
        else:
            value = {"filter_metadata": getattr(self.context.listener_info, "metadata", {})}
        for part in path[1:]:
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def activation(self, manager: Any) -> Activation:
        """For a stream with this filter manager."""
        return Activation(
            manager.stream_info, manager.request_headers, manager.response_headers, manager.response_trailers,
            manager.route(), self.context.server, self.context.traffic_direction,
        )  # fmt: skip


class _Fetch(AsyncCallbacks):
    """`code.remote`: fetched over a cluster, checked against its SHA-256, tried again until it is there."""

    def __init__(self, plugin: WasmPlugin, view: View) -> None:
        self.plugin = plugin
        uri = view.message("http_uri")
        if uri is None:
            raise view.error("value is required", "http_uri")
        rest = uri.text("uri").partition("://")[2]
        host, _, path = rest.partition("/")
        self.host: bytes = host.encode()
        self.path: bytes = b"/" + path.encode()
        self.cluster = uri.text("cluster")
        self.timeout_ms = uri.millis("timeout") or 0
        self.digest = view.text("sha256").lower()
        retry = view.message("retry_policy")
        back_off = None if retry is None else retry.message("retry_back_off")
        self.delay_ms = 1000 if back_off is None else (back_off.millis("base_interval") or 1000)
        if back_off is not None:
            back_off.accept("max_interval")
        if retry is not None:
            retry.accept("num_retries", "retry_on")

    def start(self) -> None:
        headers = RequestHeaderMap(method=b"GET", path=self.path, authority=self.host, scheme=b"http")
        AsyncCall(self.plugin.client, self.cluster, headers, b"", self.timeout_ms, self, _MOST_CODE).start()

    def on_response(self, headers: ResponseHeaderMap, body: bytes) -> None:
        if headers.status == _OK and hashlib.sha256(body).hexdigest() == self.digest:
            self.plugin.on_code(body)
        else:
            self.on_failure(f"status {headers.status}, or another SHA-256")

    def on_failure(self, reason: str) -> None:
        _log.warning("Wasm code of plugin %s cannot be fetched: %s", self.plugin.name, reason)
        self.plugin.try_again(self.delay_ms)


def _any_bytes(view: View, field: str) -> bytes:
    """A string's or bytes' content, a Struct as JSON, anything else serialized; as modules see it."""
    if not view.has(field):
        return b""
    held = view.message(field)
    assert held is not None
    if held.type_name in _STRINGS:
        value = getattr(held.take(), "value", "")
        return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)
    message = held.take()
    if held.type_name == _STRUCT:
        from google.protobuf import json_format

        return json_format.MessageToJson(message, indent=None, descriptor_pool=api.pool()).encode()
    return message.SerializeToString()


def _environment(view: View) -> dict[str, str]:
    made: dict[str, str] = {}
    variables = view.message("environment_variables")
    if variables is None:
        return made
    for name in variables.texts("host_env_keys"):
        if name in os.environ:
            made[name] = os.environ[name]
    for name, value in variables.text_map("key_values").items():
        if name in made:
            raise variables.error(
                f"Key {name} is duplicated in envoy.extensions.wasm.v3.VmConfig.environment_variables"
            )
        made[name] = value
    return made


def _capabilities(view: View) -> frozenset[str] | None:
    restriction = view.message("capability_restriction_config")
    if restriction is None:
        return None
    allowed = restriction.message_map("allowed_capabilities")
    return frozenset(allowed) or None


