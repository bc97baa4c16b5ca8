"""The functions that modules import from `env`.

Source: the Proxy-Wasm specification, ABI 0.1.0, 0.2.0 and 0.2.1. Each takes the machine and numbers; it gives a result.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from outrider.data.header_map import HeaderMap
from outrider.extensions.wasm import abi
from outrider.extensions.wasm.calls import PluginGrpcCall, PluginGrpcStream, PluginHttpCall, add_call
from outrider.extensions.wasm.shared import SHARED
from outrider.extensions.wasm.vm import WasmFailure, WasmVm
from outrider.stats.metrics import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from outrider.extensions.wasm.context import WasmContext

HostFunction = Callable[..., int]
_FUNCTIONS: Final[dict[str, HostFunction]] = {}
_MOST_METRICS: Final = 10_000


def define_host(linker: Any, vm: WasmVm, module: Any) -> None:
    """Define what the module imports, with the arity that it expects."""
    for wanted in module.imports:
        name = wanted.name
        function = _FUNCTIONS.get(name or "")
        if wanted.module != "env" or function is None or name is None:
            continue
        denied = vm.capabilities is not None and name not in vm.capabilities
        linker.define_func("env", name, wanted.type, _guarded(vm, function, denied, len(wanted.type.results)))


def _guarded(vm: WasmVm, function: HostFunction, denied: bool, results: int) -> Callable[..., Any]:
    def call(*numbers: int) -> int | None:
        if denied:
            return abi.INTERNAL_FAILURE
        try:
            result = function(vm, *numbers)
        except WasmFailure:
            result = abi.INVALID_MEMORY_ACCESS
        return result if results else None

    return call


def _host(function: HostFunction) -> HostFunction:
    _FUNCTIONS[f"proxy_{function.__name__}"] = function
    return function


def _context(vm: WasmVm) -> WasmContext:
    if vm.current is None:
        raise WasmFailure("called outside of any context")
    return vm.current


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


# --- logs, properties ---


@_host
def log(vm: WasmVm, level: int, pointer: int, size: int) -> int:
    text = _text(vm.read(pointer, size))
    if vm.current is not None:
        vm.current.log(level, text)
    return abi.OK


@_host
def get_log_level(vm: WasmVm, pointer: int) -> int:
    vm.write_u32(pointer, 2)
    return abi.OK


@_host
def get_status(vm: WasmVm, code: int, pointer: int, size: int) -> int:
    status, text = _context(vm).plugin.status
    vm.write_u32(code, status)
    vm.give(text.encode(), pointer, size)
    return abi.OK


@_host
def get_property(vm: WasmVm, path: int, path_size: int, pointer: int, size: int) -> int:
    context = _context(vm)
    parts = [_text(each) for each in vm.read(path, path_size).rstrip(b"\0").split(b"\0")]
    # A property of a module's own has a name of one part.
    own = context.own_property(parts[0]) if len(parts) == 1 else None
    if own is not None:
        vm.give(own, pointer, size)
        return abi.OK
    plugin = context.plugin
    named = {"plugin_name": plugin.name, "plugin_root_id": plugin.root_id, "plugin_vm_id": plugin.vm_id}
    activation = context.activation()
    value = named.get(parts[0]) if len(parts) == 1 else None
    if value is None:
        value = plugin.server_property(parts) if activation is None else activation.find(parts)  # type: ignore[assignment]
    if value is None:
        return abi.NOT_FOUND
    vm.give(abi.pack_value(value), pointer, size)
    return abi.OK


@_host
def set_property(vm: WasmVm, path: int, path_size: int, value: int, value_size: int) -> int:
    done = _context(vm).set_property(_text(vm.read(path, path_size)), vm.read(value, value_size))
    return abi.OK if done else abi.NOT_FOUND


# --- streams ---


@_host
def continue_stream(vm: WasmVm, kind: int) -> int:
    context = _context(vm)
    vm.after(lambda: _ignore(context.continue_stream(kind)))
    return abi.OK


@_host
def close_stream(vm: WasmVm, kind: int) -> int:
    context = _context(vm)
    vm.after(lambda: _ignore(context.close_stream(kind)))
    return abi.OK


def _ignore(result: object) -> None:
    """For actions whose outcome nobody can be told."""


@_host
def continue_request(vm: WasmVm) -> int:
    return continue_stream(vm, abi.STREAM_REQUEST)


@_host
def continue_response(vm: WasmVm) -> int:
    return continue_stream(vm, abi.STREAM_RESPONSE)


@_host
def clear_route_cache(vm: WasmVm) -> int:
    _context(vm).clear_route_cache()
    return abi.OK


@_host
def send_local_response(
    vm: WasmVm, status: int, details: int, details_size: int, body: int, body_size: int, headers: int,
    headers_size: int, grpc: int,
) -> int:  # fmt: skip
    try:
        pairs = abi.unpack_pairs(vm.read(headers, headers_size))
    except ValueError:
        return abi.BAD_ARGUMENT
    told = _text(vm.read(details, details_size))
    done = _context(vm).send_local_response(status, told, vm.read(body, body_size), pairs, grpc)
    return abi.OK if done else abi.BAD_ARGUMENT


# --- headers ---


@_host
def add_header_map_value(vm: WasmVm, kind: int, name: int, name_size: int, value: int, value_size: int) -> int:
    return _change(vm, kind, "add", vm.read(name, name_size), vm.read(value, value_size))


@_host
def replace_header_map_value(vm: WasmVm, kind: int, name: int, name_size: int, value: int, value_size: int) -> int:
    return _change(vm, kind, "set", vm.read(name, name_size), vm.read(value, value_size))


@_host
def remove_header_map_value(vm: WasmVm, kind: int, name: int, name_size: int) -> int:
    return _change(vm, kind, "remove", vm.read(name, name_size), b"")


def _change(vm: WasmVm, kind: int, how: str, name: bytes, value: bytes) -> int:
    context = _context(vm)
    headers = context.header_map(kind)
    if headers is None or not context.may_change(kind) or not _sendable(name, value):
        return abi.BAD_ARGUMENT
    _apply(headers, how, name.lower(), value)
    context.headers_changed(kind)
    return abi.OK


def _apply(headers: HeaderMap, how: str, name: bytes, value: bytes) -> None:
    if how == "remove":
        headers.remove(name)
    elif how == "set":
        if name == b":status" and not (value.isdigit() and len(value) == 3):
            return
        headers.set(name, value)
    else:
        headers.add(name, value)


def _sendable(name: bytes, value: bytes) -> bool:
    return bool(name) and not any(byte <= 32 for byte in name) and not any(byte in value for byte in b"\r\n\0")


@_host
def get_header_map_value(vm: WasmVm, kind: int, name: int, name_size: int, pointer: int, size: int) -> int:
    headers = _context(vm).header_map(kind)
    if headers is None:
        return abi.BAD_ARGUMENT
    value = headers.get_joined(vm.read(name, name_size).lower())
    if value is None:
        vm.give(b"", pointer, size)
        return abi.NOT_FOUND
    vm.give(value, pointer, size)
    return abi.OK


@_host
def get_header_map_pairs(vm: WasmVm, kind: int, pointer: int, size: int) -> int:
    headers = _context(vm).header_map(kind)
    if headers is None:
        return abi.NOT_FOUND
    vm.give(abi.pack_pairs(headers.all_items()), pointer, size)
    return abi.OK


@_host
def set_header_map_pairs(vm: WasmVm, kind: int, pointer: int, size: int) -> int:
    context = _context(vm)
    headers = context.header_map(kind)
    try:
        pairs = abi.unpack_pairs(vm.read(pointer, size))
    except ValueError:
        return abi.BAD_ARGUMENT
    if headers is None or not context.may_change(kind) or not all(_sendable(*pair) for pair in pairs):
        return abi.BAD_ARGUMENT
    named = {name.lower() for name, _ in pairs}
    for name, _ in headers.all_items():
        if name[:1] != b":" or (name not in named and name != b":status"):
            headers.remove(name)
    for name, value in pairs:
        _apply(headers, "set" if name[:1] == b":" else "add", name.lower(), value)
    context.headers_changed(kind)
    return abi.OK


@_host
def get_header_map_size(vm: WasmVm, kind: int, pointer: int) -> int:
    headers = _context(vm).header_map(kind)
    if headers is None:
        return abi.BAD_ARGUMENT
    vm.write_u32(pointer, headers.byte_size())
    return abi.OK


# --- buffers ---


@_host
def get_buffer_bytes(vm: WasmVm, kind: int, start: int, length: int, pointer: int, size: int) -> int:
    data = _context(vm).buffer(kind)
    if data is None:
        return abi.NOT_FOUND
    start &= 0xFFFFFFFF
    length &= 0xFFFFFFFF
    if start > len(data):
        return abi.BAD_ARGUMENT
    vm.give(data[start : start + length], pointer, size)
    return abi.OK


@_host
def get_buffer_status(vm: WasmVm, kind: int, length: int, flags: int) -> int:
    data = _context(vm).buffer(kind)
    if data is None:
        return abi.NOT_FOUND
    vm.write_u32(length, len(data))
    vm.write_u32(flags, 0)
    return abi.OK


@_host
def set_buffer_bytes(vm: WasmVm, kind: int, start: int, length: int, pointer: int, size: int) -> int:
    context = _context(vm)
    data = context.buffer(kind)
    if data is None:
        return abi.NOT_FOUND
    start &= 0xFFFFFFFF
    length &= 0xFFFFFFFF
    new = vm.read(pointer, size)
    if start == 0 and length == 0:
        changed = new + data
    elif start == 0 and length >= len(data):
        changed = new
    elif start >= len(data):
        changed = data + new
    else:
        return abi.BAD_ARGUMENT
    return abi.OK if context.set_buffer(kind, changed) else abi.BAD_ARGUMENT


# --- shared data and queues ---


@_host
def get_shared_data(vm: WasmVm, key: int, key_size: int, pointer: int, size: int, version: int) -> int:
    found = SHARED.get(_context(vm).plugin.vm_id, vm.read(key, key_size))
    if found is None:
        return abi.NOT_FOUND
    vm.give(found[0], pointer, size)
    vm.write_u32(version, found[1])
    return abi.OK


@_host
def set_shared_data(vm: WasmVm, key: int, key_size: int, value: int, value_size: int, version: int) -> int:
    vm_id = _context(vm).plugin.vm_id
    done = SHARED.set(vm_id, vm.read(key, key_size), vm.read(value, value_size), version & 0xFFFFFFFF)
    return abi.INTERNAL_FAILURE if done is None else abi.OK if done else abi.CAS_MISMATCH


@_host
def register_shared_queue(vm: WasmVm, name: int, name_size: int, token: int) -> int:
    context = _context(vm)
    vm.write_u32(token, SHARED.register_queue(context.plugin.vm_id, vm.read(name, name_size), context.root_context()))
    return abi.OK


@_host
def resolve_shared_queue(vm: WasmVm, vm_id: int, vm_size: int, name: int, name_size: int, token: int) -> int:
    found = SHARED.resolve_queue(_text(vm.read(vm_id, vm_size)), vm.read(name, name_size))
    if found is None:
        return abi.NOT_FOUND
    vm.write_u32(token, found)
    return abi.OK


@_host
def dequeue_shared_queue(vm: WasmVm, token: int, pointer: int, size: int) -> int:
    queue = SHARED.queues.get(token)
    if queue is None:
        return abi.NOT_FOUND
    if not queue.items:
        return abi.EMPTY
    vm.give(queue.items.popleft(), pointer, size)
    return abi.OK


@_host
def enqueue_shared_queue(vm: WasmVm, token: int, pointer: int, size: int) -> int:
    done = SHARED.enqueue(token, vm.read(pointer, size))
    return abi.INTERNAL_FAILURE if done is None else abi.OK if done else abi.NOT_FOUND


# --- calls ---


@_host
def http_call(
    vm: WasmVm, cluster: int, cluster_size: int, headers: int, headers_size: int, body: int, body_size: int,
    trailers: int, trailers_size: int, timeout: int, token: int,
) -> int:  # fmt: skip
    context = _context(vm)
    try:
        pairs = abi.unpack_pairs(vm.read(headers, headers_size))
    except ValueError:
        return abi.BAD_ARGUMENT
    call = PluginHttpCall(context)
    number = add_call(context, call)
    name = _text(vm.read(cluster, cluster_size))
    if not number or not call.start(context.plugin.client, name, pairs, vm.read(body, body_size), timeout):
        context.root_context().calls.pop(number, None)
        return abi.BAD_ARGUMENT
    vm.write_u32(token, number)
    return abi.OK


@_host
def grpc_call(vm: WasmVm, *numbers: int) -> int:
    """0.1.0 passes no initial metadata."""
    if len(numbers) == 10:
        numbers = (*numbers[:6], 0, 0, *numbers[6:])
    service, name, method, metadata, message = (vm.read(*numbers[at : at + 2]) for at in range(0, 10, 2))
    timeout, token = numbers[10:]
    context = _context(vm)
    try:
        call = PluginGrpcCall(context, abi.unpack_pairs(metadata))
    except ValueError:
        return abi.BAD_ARGUMENT
    number = add_call(context, call)
    if not number or not call.start(service, _text(name), _text(method), message, timeout):
        context.root_context().calls.pop(number, None)
        return abi.PARSE_FAILURE
    vm.write_u32(token, number)
    return abi.OK


@_host
def grpc_stream(vm: WasmVm, *numbers: int) -> int:
    if len(numbers) == 7:
        numbers = (*numbers[:6], 0, 0, *numbers[6:])
    service, name, method, metadata = (vm.read(*numbers[at : at + 2]) for at in range(0, 8, 2))
    context = _context(vm)
    try:
        call = PluginGrpcStream(context, abi.unpack_pairs(metadata))
    except ValueError:
        return abi.BAD_ARGUMENT
    number = add_call(context, call)
    if not number or not call.start(service, _text(name), _text(method)):
        context.root_context().calls.pop(number, None)
        return abi.PARSE_FAILURE
    vm.write_u32(numbers[8], number)
    return abi.OK


@_host
def grpc_send(vm: WasmVm, token: int, pointer: int, size: int, end_stream: int) -> int:
    call = _context(vm).root_context().calls.get(token)
    if not isinstance(call, PluginGrpcStream) or call.stream is None:
        return abi.NOT_FOUND
    call.stream.send_message(vm.read(pointer, size), bool(end_stream))
    return abi.OK


@_host
def grpc_cancel(vm: WasmVm, token: int) -> int:
    call = _context(vm).root_context().calls.pop(token, None)
    if call is None:
        return abi.NOT_FOUND
    call.cancel()
    return abi.OK


@_host
def grpc_close(vm: WasmVm, token: int) -> int:
    call = _context(vm).root_context().calls.get(token)
    if isinstance(call, PluginGrpcStream) and call.stream is not None:
        call.stream.close()
        return abi.OK
    return grpc_cancel(vm, token)


# --- metrics ---


@_host
def define_metric(vm: WasmVm, kind: int, name: int, name_size: int, pointer: int) -> int:
    root = _context(vm).root_context()
    if len(root.metrics) >= _MOST_METRICS:
        return abi.INTERNAL_FAILURE
    scope = root.plugin.metrics_scope
    text = _text(vm.read(name, name_size))
    if kind == abi.METRIC_COUNTER:
        root.metrics.append(scope.counter(text))
    elif kind == abi.METRIC_GAUGE:
        root.metrics.append(scope.gauge(text))
    elif kind == abi.METRIC_HISTOGRAM:
        root.metrics.append(scope.histogram(text))
    else:
        return abi.BAD_ARGUMENT
    vm.write_u32(pointer, len(root.metrics))
    return abi.OK


def _metric(vm: WasmVm, number: int) -> Counter | Gauge | Histogram | None:
    metrics = _context(vm).root_context().metrics
    return metrics[number - 1] if 1 <= number <= len(metrics) else None


@_host
def increment_metric(vm: WasmVm, number: int, offset: int) -> int:
    metric = _metric(vm, number)
    if metric is None:
        return abi.NOT_FOUND
    if isinstance(metric, Histogram) or (isinstance(metric, Counter) and offset < 0):
        return abi.BAD_ARGUMENT
    metric.add(offset)
    return abi.OK


@_host
def record_metric(vm: WasmVm, number: int, value: int) -> int:
    metric = _metric(vm, number)
    if metric is None:
        return abi.NOT_FOUND
    if isinstance(metric, Gauge):
        metric.set(value)
    elif isinstance(metric, Histogram):
        metric.record(value)
    else:
        metric.add(max(value, 0))
    return abi.OK


@_host
def get_metric(vm: WasmVm, number: int, pointer: int) -> int:
    metric = _metric(vm, number)
    if metric is None:
        return abi.NOT_FOUND
    if isinstance(metric, Histogram):
        return abi.BAD_ARGUMENT
    vm.write_u64(pointer, metric.value)
    return abi.OK


# --- the rest ---


@_host
def set_tick_period_milliseconds(vm: WasmVm, period: int) -> int:
    _context(vm).root_context().set_tick(period)
    return abi.OK


@_host
def get_current_time_nanoseconds(vm: WasmVm, pointer: int) -> int:
    vm.write_u64(pointer, time_ns())
    return abi.OK


@_host
def set_effective_context(vm: WasmVm, number: int) -> int:
    found = vm.contexts.get(number)
    if found is None:
        return abi.BAD_ARGUMENT
    vm.current = found
    return abi.OK


@_host
def done(vm: WasmVm) -> int:
    _context(vm).done()
    return abi.OK


@_host
def call_foreign_function(
    vm: WasmVm, name: int, name_size: int, arguments: int, size: int, pointer: int, result_size: int
) -> int:
    """None of Envoy's own is there."""
    return abi.NOT_FOUND
