"""The functions that modules import from `env`.

Source: the Proxy-Wasm specification, ABI 0.1.0, 0.2.0 and 0.2.1. Each takes the machine and numbers; it gives a result.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from outrider.data.header_map import HeaderMap
from outrider.extensions.wasm import abi
from outrider.extensions.wasm.vm import WasmFailure, WasmVm

if TYPE_CHECKING:
    from outrider.extensions.wasm.context import WasmContext

HostFunction = Callable[..., int]
_FUNCTIONS: Final[dict[str, HostFunction]] = {}


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


def host_function(function: HostFunction) -> HostFunction:
    _FUNCTIONS[f"proxy_{function.__name__}"] = function
    return function


def context_of(vm: WasmVm) -> WasmContext:
    if vm.current is None:
        raise WasmFailure("called outside of any context")
    return vm.current


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "replace")


# --- logs, properties ---


@host_function
def log(vm: WasmVm, level: int, pointer: int, size: int) -> int:
    text = text_of(vm.read(pointer, size))
    if vm.current is not None:
        vm.current.log(level, text)
    return abi.OK


@host_function
def get_log_level(vm: WasmVm, pointer: int) -> int:
    vm.write_u32(pointer, 2)
    return abi.OK


@host_function
def get_status(vm: WasmVm, code: int, pointer: int, size: int) -> int:
    status, text = context_of(vm).plugin.status
    vm.write_u32(code, status)
    vm.give(text.encode(), pointer, size)
    return abi.OK


@host_function
def get_property(vm: WasmVm, path: int, path_size: int, pointer: int, size: int) -> int:
    context = context_of(vm)
    parts = [text_of(each) for each in vm.read(path, path_size).rstrip(b"\0").split(b"\0")]
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


@host_function
def set_property(vm: WasmVm, path: int, path_size: int, value: int, value_size: int) -> int:
    done = context_of(vm).set_property(text_of(vm.read(path, path_size)), vm.read(value, value_size))
    return abi.OK if done else abi.NOT_FOUND


# --- streams ---


@host_function
def continue_stream(vm: WasmVm, kind: int) -> int:
    context = context_of(vm)
    vm.after(lambda: _ignore(context.continue_stream(kind)))
    return abi.OK


@host_function
def close_stream(vm: WasmVm, kind: int) -> int:
    context = context_of(vm)
    vm.after(lambda: _ignore(context.close_stream(kind)))
    return abi.OK


def _ignore(result: object) -> None:
    """For actions whose outcome nobody can be told."""


@host_function
def continue_request(vm: WasmVm) -> int:
    return continue_stream(vm, abi.STREAM_REQUEST)


@host_function
def continue_response(vm: WasmVm) -> int:
    return continue_stream(vm, abi.STREAM_RESPONSE)


@host_function
def clear_route_cache(vm: WasmVm) -> int:
    context_of(vm).clear_route_cache()
    return abi.OK


@host_function
def send_local_response(
    vm: WasmVm, status: int, details: int, details_size: int, body: int, body_size: int, headers: int,
    headers_size: int, grpc: int,
) -> int:  # fmt: skip
    try:
        pairs = abi.unpack_pairs(vm.read(headers, headers_size))
    except ValueError:
        return abi.BAD_ARGUMENT
    told = text_of(vm.read(details, details_size))
    done = context_of(vm).send_local_response(status, told, vm.read(body, body_size), pairs, grpc)
    return abi.OK if done else abi.BAD_ARGUMENT


# --- headers ---


@host_function
def add_header_map_value(vm: WasmVm, kind: int, name: int, name_size: int, value: int, value_size: int) -> int:
    return _change(vm, kind, "add", vm.read(name, name_size), vm.read(value, value_size))


@host_function
def replace_header_map_value(vm: WasmVm, kind: int, name: int, name_size: int, value: int, value_size: int) -> int:
    return _change(vm, kind, "set", vm.read(name, name_size), vm.read(value, value_size))


@host_function
def remove_header_map_value(vm: WasmVm, kind: int, name: int, name_size: int) -> int:
    return _change(vm, kind, "remove", vm.read(name, name_size), b"")


def _change(vm: WasmVm, kind: int, how: str, name: bytes, value: bytes) -> int:
    context = context_of(vm)
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


@host_function
def get_header_map_value(vm: WasmVm, kind: int, name: int, name_size: int, pointer: int, size: int) -> int:
    headers = context_of(vm).header_map(kind)
    if headers is None:
        return abi.BAD_ARGUMENT
    value = headers.get_joined(vm.read(name, name_size).lower())
    if value is None:
        vm.give(b"", pointer, size)
        return abi.NOT_FOUND
    vm.give(value, pointer, size)
    return abi.OK


@host_function
def get_header_map_pairs(vm: WasmVm, kind: int, pointer: int, size: int) -> int:
    headers = context_of(vm).header_map(kind)
    if headers is None:
        return abi.NOT_FOUND
    vm.give(abi.pack_pairs(headers.all_items()), pointer, size)
    return abi.OK


@host_function
def set_header_map_pairs(vm: WasmVm, kind: int, pointer: int, size: int) -> int:
    context = context_of(vm)
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


@host_function
def get_header_map_size(vm: WasmVm, kind: int, pointer: int) -> int:
    headers = context_of(vm).header_map(kind)
    if headers is None:
        return abi.BAD_ARGUMENT
    vm.write_u32(pointer, headers.byte_size())
    return abi.OK


# --- buffers ---


@host_function
def get_buffer_bytes(vm: WasmVm, kind: int, start: int, length: int, pointer: int, size: int) -> int:
    data = context_of(vm).buffer(kind)
    if data is None:
        return abi.NOT_FOUND
    start &= 0xFFFFFFFF
    length &= 0xFFFFFFFF
    if start > len(data):
        return abi.BAD_ARGUMENT
    vm.give(data[start : start + length], pointer, size)
    return abi.OK


@host_function
def get_buffer_status(vm: WasmVm, kind: int, length: int, flags: int) -> int:
    data = context_of(vm).buffer(kind)
    if data is None:
        return abi.NOT_FOUND
    vm.write_u32(length, len(data))
    vm.write_u32(flags, 0)
    return abi.OK


@host_function
def set_buffer_bytes(vm: WasmVm, kind: int, start: int, length: int, pointer: int, size: int) -> int:
    context = context_of(vm)
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


# --- the rest ---


@host_function
def set_tick_period_milliseconds(vm: WasmVm, period: int) -> int:
    context_of(vm).root_context().set_tick(period)
    return abi.OK


@host_function
def get_current_time_nanoseconds(vm: WasmVm, pointer: int) -> int:
    vm.write_u64(pointer, time_ns())
    return abi.OK


@host_function
def set_effective_context(vm: WasmVm, number: int) -> int:
    found = vm.contexts.get(number)
    if found is None:
        return abi.BAD_ARGUMENT
    vm.current = found
    return abi.OK


@host_function
def done(vm: WasmVm) -> int:
    context_of(vm).done()
    return abi.OK


@host_function
def call_foreign_function(
    vm: WasmVm, name: int, name_size: int, arguments: int, size: int, pointer: int, result_size: int
) -> int:
    """None of Envoy's own is there."""
    return abi.NOT_FOUND
