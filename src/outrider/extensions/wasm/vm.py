"""One virtual machine with a module in it."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from outrider.extensions.wasm.context import WasmContext
    from outrider.stats.metrics import Gauge

_log: Final = logging.getLogger("outrider.wasm")
# Bytes that a module's memory may grow to.
_MOST_MEMORY: Final = 1 << 30
_ABI_MARKS: Final = ("proxy_abi_version_0_1_0", "proxy_abi_version_0_2_0", "proxy_abi_version_0_2_1")


class WasmFailure(Exception):
    """The module cannot be loaded, or a call into it has trapped."""


class WasmVm:
    """Raises WasmFailure."""

    def __init__(self, code: bytes, environment: dict[str, str], capabilities: frozenset[str] | None) -> None:
        try:
            import wasmtime
        except ImportError:
            raise WasmFailure("the Python package 'wasmtime' is not installed") from None
        from outrider.extensions.wasm.host_services import define_all
        from outrider.extensions.wasm.wasi import define_wasi

        self.environment = environment
        # Names of host functions that the module may use; None: all.
        self.capabilities = capabilities
        self.failed = False
        # Called once when a call traps.
        self.on_failed: list[Callable[[], None]] = []
        self.active: Gauge | None = None
        self.contexts: dict[int, WasmContext] = {}
        self.current: WasmContext | None = None
        self._next_context = 1
        self._depth = 0
        self._after: list[Callable[[], None]] = []
        self._errors: tuple[type[BaseException], ...] = (wasmtime.Trap, wasmtime.WasmtimeError, wasmtime.ExitTrap)
        self._functions: dict[str, Any] = {}
        try:
            self._store: Any = wasmtime.Store(_engine())
            self._store.set_limits(memory_size=_MOST_MEMORY)
            module = _module(code)
            linker = wasmtime.Linker(self._store.engine)
            define_wasi(linker, self._store, self)
            define_all(linker, self, module)
            instance = linker.instantiate(self._store, module)
            exports = instance.exports(self._store)
            self.memory: Any = exports["memory"]
        except KeyError:
            raise WasmFailure("the module exports no memory") from None
        except self._errors as error:
            raise WasmFailure(str(error)) from None
        for export in module.exports:
            found = exports[export.name]
            if isinstance(found, wasmtime.Func):
                self._functions[export.name] = found
        marks = [name for name in _ABI_MARKS if name in self._functions]
        if not marks:
            raise WasmFailure("the module names no ABI version")
        # 0.1.0 passes no end of stream with headers.
        self.old_abi: bool = marks[-1] == _ABI_MARKS[0]
        self._allocate: Any = self._functions.get("proxy_on_memory_allocate") or self._functions.get("malloc")
        if self._allocate is None:
            raise WasmFailure("the module exports no allocator")
        self.call("_initialize" if "_initialize" in self._functions else "_start")
        if self.failed:
            raise WasmFailure("the module failed when it was initialized")

    def has(self, name: str) -> bool:
        return name in self._functions and self._allowed(name)

    def _allowed(self, name: str) -> bool:
        return self.capabilities is None or not name.startswith("proxy_on_") or name in self.capabilities

    # --- calls into the module ---

    def call(self, name: str, *numbers: int, context: WasmContext | None = None) -> int | None:
        """Call an export, if there is one. None: there is none, it gives nothing, or it trapped (see `failed`)."""
        function = self._functions.get(name)
        if function is None or self.failed or not self._allowed(name):
            return None
        before = self.current
        self.current = context
        self._depth += 1
        try:
            result = function(self._store, *numbers)
        except self._errors as error:
            self._fail(name, error)
            return None
        finally:
            self.current = before
            self._depth -= 1
        if self._depth == 0:
            self.run_after()
        return result if isinstance(result, int) else None

    def after(self, action: Callable[[], None]) -> None:
        """Do it once the module is no longer in the middle of a call."""
        if self._depth == 0:
            action()
        else:
            self._after.append(action)

    def run_after(self) -> None:
        while self._after:
            self._after.pop(0)()

    def _fail(self, name: str, error: BaseException) -> None:
        self.failed = True
        _log.error("Function: %s failed: %s", name, error)
        if self.active is not None:
            self.active.dec()
        told, self.on_failed = self.on_failed, []
        self._after.clear()
        for action in told:
            action()

    # --- contexts ---

    def add_context(self, context: WasmContext) -> int:
        number = self._next_context
        self._next_context += 1
        self.contexts[number] = context
        return number

    def remove_context(self, number: int) -> None:
        self.contexts.pop(number, None)

    # --- memory ---

    def read(self, start: int, size: int) -> bytes:
        """Raises WasmFailure outside the memory."""
        start &= 0xFFFFFFFF
        size &= 0xFFFFFFFF
        if start + size > self.memory.data_len(self._store):
            raise WasmFailure("invalid memory access")
        return bytes(self.memory.read(self._store, start, start + size))

    def write(self, start: int, data: bytes) -> None:
        start &= 0xFFFFFFFF
        if start + len(data) > self.memory.data_len(self._store):
            raise WasmFailure("invalid memory access")
        if data:
            self.memory.write(self._store, data, start)

    def write_u32(self, start: int, value: int) -> None:
        self.write(start, struct.pack("<I", value & 0xFFFFFFFF))

    def write_u64(self, start: int, value: int) -> None:
        self.write(start, struct.pack("<Q", value & 0xFFFFFFFFFFFFFFFF))

    def give(self, data: bytes, pointer: int, size: int) -> None:
        """Copy data into memory that the module allocates; tell it where."""
        address = 0
        if data:
            address = int(self._allocate(self._store, len(data))) & 0xFFFFFFFF
            if not address:
                raise WasmFailure("the module has no memory left")
            self.write(address, data)
        self.write_u32(pointer, address)
        self.write_u32(size, len(data))


_cache: dict[str, Any] = {}


def _engine() -> Any:
    """One for the process."""
    engine = _cache.get("")
    if engine is None:
        import wasmtime

        engine = _cache[""] = wasmtime.Engine()
    return engine


def _module(code: bytes) -> Any:
    """Compiled once for each code."""
    import hashlib

    import wasmtime

    key = hashlib.sha256(code).hexdigest()
    module = _cache.get(key)
    if module is None:
        module = _cache[key] = wasmtime.Module(_engine(), code)
    return module
