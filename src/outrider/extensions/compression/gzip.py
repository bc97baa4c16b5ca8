"""envoy.compression.gzip: zlib in gzip's format (RFC 1952)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

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

_GZIP: Final = 16
_LEVELS: Final[dict[str, int]] = {
    "DEFAULT_COMPRESSION": zlib.Z_DEFAULT_COMPRESSION,
    "BEST_SPEED": zlib.Z_BEST_SPEED,
    "BEST_COMPRESSION": zlib.Z_BEST_COMPRESSION,
    **{f"COMPRESSION_LEVEL_{level}": level for level in range(1, 10)},
}
_STRATEGIES: Final[dict[str, int]] = {
    "DEFAULT_STRATEGY": zlib.Z_DEFAULT_STRATEGY,
    "FILTERED": zlib.Z_FILTERED,
    "HUFFMAN_ONLY": zlib.Z_HUFFMAN_ONLY,
    "RLE": zlib.Z_RLE,
    "FIXED": zlib.Z_FIXED,
}


class GzipCompressor(Compressor):
    def __init__(self, level: int, window: int, memory: int, strategy: int) -> None:
        self._engine = zlib.compressobj(level, zlib.DEFLATED, window + _GZIP, memory, strategy)

    def compress(self, data: bytes, finish: bool) -> bytes:
        return self._engine.compress(data) + self._engine.flush(zlib.Z_FINISH if finish else zlib.Z_SYNC_FLUSH)


class GzipCompressors(CompressorLibrary):
    encoding = b"gzip"
    name = "gzip"

    def __init__(self, level: int, window: int, memory: int, strategy: int) -> None:
        self.level = level
        self.window = window
        self.memory = memory
        self.strategy = strategy

    def create(self) -> Compressor:
        return GzipCompressor(self.level, self.window, self.memory, self.strategy)


class GzipDecompressor(Decompressor):
    def __init__(self, window: int, ratio: int) -> None:
        self._engine = zlib.decompressobj(window + _GZIP)
        self._ratio = ratio

    def decompress(self, data: bytes) -> bytes:
        limit = output_limit(len(data), self._ratio)
        try:
            made = self._engine.decompress(data, limit)
        except zlib.error as error:
            raise CompressionError(str(error)) from None
        if self._engine.unconsumed_tail:
            raise CompressionError("inflates too much")
        return made


class GzipDecompressors(DecompressorLibrary):
    encoding = b"gzip"
    name = "gzip"

    def __init__(self, window: int, ratio: int) -> None:
        self.window = window
        self.ratio = ratio

    def create(self) -> Decompressor:
        return GzipDecompressor(self.window, self.ratio)


@COMPRESSORS.register("envoy.compression.gzip.compressor", "envoy.extensions.compression.gzip.compressor.v3.Gzip")
def create_compressors(config: View, context: FactoryContext) -> CompressorLibrary:
    # The size of pieces is an implementation detail: here a chunk of body becomes one piece.
    config.accept("chunk_size")
    level = _LEVELS[config.enum("compression_level")]
    strategy = _STRATEGIES[config.enum("compression_strategy")]
    return GzipCompressors(level, config.integer("window_bits", 12), config.integer("memory_level", 5), strategy)


@DECOMPRESSORS.register("envoy.compression.gzip.decompressor", "envoy.extensions.compression.gzip.decompressor.v3.Gzip")
def create_decompressors(config: View, context: FactoryContext) -> DecompressorLibrary:
    config.accept("chunk_size")
    return GzipDecompressors(config.integer("window_bits", 15), config.integer("max_inflate_ratio", MAX_RATIO))
