"""Host functions of services: shared data and queues, calls, metrics. The rest is in host.py."""

from __future__ import annotations

from typing import Any, Final

from outrider.extensions.wasm import abi
from outrider.extensions.wasm.calls import PluginGrpcCall, PluginGrpcStream, PluginHttpCall, add_call
from outrider.extensions.wasm.host import context_of, define_host, host_function, text_of
from outrider.extensions.wasm.shared import SHARED
from outrider.extensions.wasm.vm import WasmVm
from outrider.stats.metrics import Counter, Gauge, Histogram

_MOST_METRICS: Final = 10_000


def define_all(linker: Any, vm: WasmVm, module: Any) -> None:
    """All that a module may import from `env`: these and those of host.py."""
    define_host(linker, vm, module)


# --- shared data and queues ---


@host_function
def get_shared_data(vm: WasmVm, key: int, key_size: int, pointer: int, size: int, version: int) -> int:
    found = SHARED.get(context_of(vm).plugin.vm_id, vm.read(key, key_size))
    if found is None:
        return abi.NOT_FOUND
    vm.give(found[0], pointer, size)
    vm.write_u32(version, found[1])
    return abi.OK


@host_function
def set_shared_data(vm: WasmVm, key: int, key_size: int, value: int, value_size: int, version: int) -> int:
    vm_id = context_of(vm).plugin.vm_id
    done = SHARED.set(vm_id, vm.read(key, key_size), vm.read(value, value_size), version & 0xFFFFFFFF)
    return abi.INTERNAL_FAILURE if done is None else abi.OK if done else abi.CAS_MISMATCH


@host_function
def register_shared_queue(vm: WasmVm, name: int, name_size: int, token: int) -> int:
    context = context_of(vm)
    vm.write_u32(token, SHARED.register_queue(context.plugin.vm_id, vm.read(name, name_size), context.root_context()))
    return abi.OK


@host_function
def resolve_shared_queue(vm: WasmVm, vm_id: int, vm_size: int, name: int, name_size: int, token: int) -> int:
    found = SHARED.resolve_queue(text_of(vm.read(vm_id, vm_size)), vm.read(name, name_size))
    if found is None:
        return abi.NOT_FOUND
    vm.write_u32(token, found)
    return abi.OK


@host_function
def dequeue_shared_queue(vm: WasmVm, token: int, pointer: int, size: int) -> int:
    queue = SHARED.queues.get(token)
    if queue is None:
        return abi.NOT_FOUND
    if not queue.items:
        return abi.EMPTY
    vm.give(queue.items.popleft(), pointer, size)
    return abi.OK


@host_function
def enqueue_shared_queue(vm: WasmVm, token: int, pointer: int, size: int) -> int:
    done = SHARED.enqueue(token, vm.read(pointer, size))
    return abi.INTERNAL_FAILURE if done is None else abi.OK if done else abi.NOT_FOUND


# --- calls ---


@host_function
def http_call(
    vm: WasmVm, cluster: int, cluster_size: int, headers: int, headers_size: int, body: int, body_size: int,
    trailers: int, trailers_size: int, timeout: int, token: int,
) -> int:  # fmt: skip
    context = context_of(vm)
    try:
        pairs = abi.unpack_pairs(vm.read(headers, headers_size))
    except ValueError:
        return abi.BAD_ARGUMENT
    call = PluginHttpCall(context)
    number = add_call(context, call)
    name = text_of(vm.read(cluster, cluster_size))
    if not number or not call.start(context.plugin.client, name, pairs, vm.read(body, body_size), timeout):
        context.root_context().calls.pop(number, None)
        return abi.BAD_ARGUMENT
    vm.write_u32(token, number)
    return abi.OK


@host_function
def grpc_call(vm: WasmVm, *numbers: int) -> int:
    """0.1.0 passes no initial metadata."""
    if len(numbers) == 10:
        numbers = (*numbers[:6], 0, 0, *numbers[6:])
    service, name, method, metadata, message = (vm.read(*numbers[at : at + 2]) for at in range(0, 10, 2))
    timeout, token = numbers[10:]
    context = context_of(vm)
    try:
        call = PluginGrpcCall(context, abi.unpack_pairs(metadata))
    except ValueError:
        return abi.BAD_ARGUMENT
    number = add_call(context, call)
    if not number or not call.start(service, text_of(name), text_of(method), message, timeout):
        context.root_context().calls.pop(number, None)
        return abi.PARSE_FAILURE
    vm.write_u32(token, number)
    return abi.OK


@host_function
def grpc_stream(vm: WasmVm, *numbers: int) -> int:
    if len(numbers) == 7:
        numbers = (*numbers[:6], 0, 0, *numbers[6:])
    service, name, method, metadata = (vm.read(*numbers[at : at + 2]) for at in range(0, 8, 2))
    context = context_of(vm)
    try:
        call = PluginGrpcStream(context, abi.unpack_pairs(metadata))
    except ValueError:
        return abi.BAD_ARGUMENT
    number = add_call(context, call)
    if not number or not call.start(service, text_of(name), text_of(method)):
        context.root_context().calls.pop(number, None)
        return abi.PARSE_FAILURE
    vm.write_u32(numbers[8], number)
    return abi.OK


@host_function
def grpc_send(vm: WasmVm, token: int, pointer: int, size: int, end_stream: int) -> int:
    call = context_of(vm).root_context().calls.get(token)
    if not isinstance(call, PluginGrpcStream) or call.stream is None:
        return abi.NOT_FOUND
    call.stream.send_message(vm.read(pointer, size), bool(end_stream))
    return abi.OK


@host_function
def grpc_cancel(vm: WasmVm, token: int) -> int:
    call = context_of(vm).root_context().calls.pop(token, None)
    if call is None:
        return abi.NOT_FOUND
    call.cancel()
    return abi.OK


@host_function
def grpc_close(vm: WasmVm, token: int) -> int:
    call = context_of(vm).root_context().calls.get(token)
    if isinstance(call, PluginGrpcStream) and call.stream is not None:
        call.stream.close()
        return abi.OK
    return grpc_cancel(vm, token)


# --- metrics ---


@host_function
def define_metric(vm: WasmVm, kind: int, name: int, name_size: int, pointer: int) -> int:
    root = context_of(vm).root_context()
    if len(root.metrics) >= _MOST_METRICS:
        return abi.INTERNAL_FAILURE
    scope = root.plugin.metrics_scope
    text = text_of(vm.read(name, name_size))
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
    metrics = context_of(vm).root_context().metrics
    return metrics[number - 1] if 1 <= number <= len(metrics) else None


@host_function
def increment_metric(vm: WasmVm, number: int, offset: int) -> int:
    metric = _metric(vm, number)
    if metric is None:
        return abi.NOT_FOUND
    if isinstance(metric, Histogram) or (isinstance(metric, Counter) and offset < 0):
        return abi.BAD_ARGUMENT
    metric.add(offset)
    return abi.OK


@host_function
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


@host_function
def get_metric(vm: WasmVm, number: int, pointer: int) -> int:
    metric = _metric(vm, number)
    if metric is None:
        return abi.NOT_FOUND
    if isinstance(metric, Histogram):
        return abi.BAD_ARGUMENT
    vm.write_u64(pointer, metric.value)
    return abi.OK
