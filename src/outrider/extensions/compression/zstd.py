"""envoy.compression.zstd: RFC 8878, by the `zstandard` package. Dictionaries and strategies are not supported."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from outrider.extensions.compression.library import (
    COMPRESSORS,
    DECOMPRESSORS,
    MAX_RATIO,
    CompressionError,
    Compressor,
    CompressorLibrary,
    Decompressor,
    DecompressorLibrary,
    output_limit,
)

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


def _module(view: View) -> ModuleType:
    try:
        import zstandard
    except ImportError:
        raise view.error("needs the Python package zstandard, which is not installed") from None
    return zstandard


class ZstdCompressor(Compressor):
    def __init__(self, module: Any, level: int, checksum: bool) -> None:
        self._engine = module.ZstdCompressor(level=level, write_checksum=checksum).compressobj()
        self._finish: int = module.COMPRESSOBJ_FLUSH_FINISH
        self._flush: int = module.COMPRESSOBJ_FLUSH_BLOCK

    def compress(self, data: bytes, finish: bool) -> bytes:
        made: bytes = self._engine.compress(data) + self._engine.flush(self._finish if finish else self._flush)
        return made


class ZstdCompressors(CompressorLibrary):
    encoding = b"zstd"
    name = "zstd"

    def __init__(self, module: Any, level: int, checksum: bool) -> None:
        self.module = module
        self.level = level
        self.checksum = checksum

    def create(self) -> Compressor:
        return ZstdCompressor(self.module, self.level, self.checksum)


class ZstdDecompressor(Decompressor):
    def __init__(self, module: Any) -> None:
        self._engine = module.ZstdDecompressor().decompressobj(read_across_frames=True)
        self._error: type[Exception] = module.ZstdError

    def decompress(self, data: bytes) -> bytes:
        limit = output_limit(len(data), MAX_RATIO)
        # The engine has no limit of its own: it is fed little at a time.
        pieces: list[bytes] = []
        size = 0
        for start in range(0, len(data), 1024):
            try:
                piece = self._engine.decompress(data[start : start + 1024])
            except self._error as error:
                raise CompressionError(str(error)) from None
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise CompressionError("inflates too much")
        return b"".join(pieces)


class ZstdDecompressors(DecompressorLibrary):
    encoding = b"zstd"
    name = "zstd"

    def __init__(self, module: Any) -> None:
        self.module = module

    def create(self) -> Decompressor:
        return ZstdDecompressor(self.module)


@COMPRESSORS.register("envoy.compression.zstd.compressor", "envoy.extensions.compression.zstd.compressor.v3.Zstd")
def create_compressors(config: View, context: FactoryContext) -> CompressorLibrary:
    # The size of pieces is an implementation detail: here a chunk of body becomes one piece.
    config.accept("chunk_size")
    return ZstdCompressors(_module(config), config.integer("compression_level", 3), config.flag("enable_checksum"))


@DECOMPRESSORS.register("envoy.compression.zstd.decompressor", "envoy.extensions.compression.zstd.decompressor.v3.Zstd")
def create_decompressors(config: View, context: FactoryContext) -> DecompressorLibrary:
    config.accept("chunk_size")
    return ZstdDecompressors(_module(config))
