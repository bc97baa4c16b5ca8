"""WASI: wasmtime's own with nothing opened, but what modules print goes to the log."""

from __future__ import annotations

import logging
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from outrider.extensions.wasm.vm import WasmVm

_log: Final = logging.getLogger("outrider.wasm")
_MODULE: Final = "wasi_snapshot_preview1"
_BAD_DESCRIPTOR: Final = 8


def define_wasi(linker: Any, store: Any, vm: WasmVm) -> None:
    import wasmtime

    config = wasmtime.WasiConfig()
    config.env = list(vm.environment.items())
    store.set_wasi(config)
    linker.define_wasi()
    linker.allow_shadowing = True
    number = wasmtime.ValType.i32()

    def fd_write(descriptor: int, vectors: int, count: int, written: int) -> int:
        if descriptor not in (1, 2):
            return _BAD_DESCRIPTOR
        text = b""
        for index in range(count):
            start, size = struct.unpack("<II", vm.read(vectors + index * 8, 8))
            text += vm.read(start, size)
        level = logging.INFO if descriptor == 1 else logging.ERROR
        _log.log(level, "wasm log: %s", text.decode("utf-8", "replace").rstrip("\n"))
        vm.write_u32(written, len(text))
        return 0

    linker.define_func(_MODULE, "fd_write", wasmtime.FuncType([number] * 4, [number]), fd_write)
