"""envoy.compression.brotli: RFC 7932, by the `brotli` package."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

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

# BrotliEncoderMode
_MODES: Final[dict[str, int]] = {"DEFAULT": 0, "GENERIC": 0, "TEXT": 1, "FONT": 2}


def _module(view: View) -> ModuleType:
    try:
        import brotli
    except ImportError:
        raise view.error("needs the Python package brotli, which is not installed") from None
    module: ModuleType = brotli
    return module


class BrotliCompressor(Compressor):
    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def compress(self, data: bytes, finish: bool) -> bytes:
        made: bytes = self._engine.process(data) + (self._engine.finish() if finish else self._engine.flush())
        return made


class BrotliCompressors(CompressorLibrary):
    encoding = b"br"
    name = "brotli"

    def __init__(self, module: Any, mode: int, quality: int, window: int, block: int) -> None:
        self.module = module
        self.mode = mode
        self.quality = quality
        self.window = window
        self.block = block

    def create(self) -> Compressor:
        engine = self.module.Compressor(mode=self.mode, quality=self.quality, lgwin=self.window, lgblock=self.block)
        return BrotliCompressor(engine)


class BrotliDecompressor(Decompressor):
    def __init__(self, module: Any) -> None:
        self._engine = module.Decompressor()
        self._error: type[Exception] = module.error

    def decompress(self, data: bytes) -> bytes:
        limit = output_limit(len(data), MAX_RATIO)
        pieces: list[bytes] = []
        size = 0
        try:
            pieces.append(self._engine.process(data, output_buffer_limit=limit))
            size = len(pieces[0])
            while size <= limit and not self._engine.can_accept_more_data():
                piece = self._engine.process(b"", output_buffer_limit=limit)
                if not piece:
                    break
                pieces.append(piece)
                size += len(piece)
        except self._error as error:
            raise CompressionError(str(error)) from None
        if size > limit:
            raise CompressionError("inflates too much")
        return b"".join(pieces)


class BrotliDecompressors(DecompressorLibrary):
    encoding = b"br"
    name = "brotli"

    def __init__(self, module: Any) -> None:
        self.module = module

    def create(self) -> Decompressor:
        return BrotliDecompressor(self.module)


@COMPRESSORS.register("envoy.compression.brotli.compressor", "envoy.extensions.compression.brotli.compressor.v3.Brotli")
def create_compressors(config: View, context: FactoryContext) -> CompressorLibrary:
    # The size of pieces is an implementation detail: here a chunk of body becomes one piece.
    config.accept("chunk_size")
    mode = _MODES[config.enum("encoder_mode")]
    quality = config.integer("quality", 3)
    window = config.integer("window_bits", 18)
    return BrotliCompressors(_module(config), mode, quality, window, config.integer("input_block_bits", 24))


@DECOMPRESSORS.register(
    "envoy.compression.brotli.decompressor", "envoy.extensions.compression.brotli.decompressor.v3.Brotli"
)
def create_decompressors(config: View, context: FactoryContext) -> DecompressorLibrary:
    config.accept("chunk_size", "disable_ring_buffer_reallocation")
    return BrotliDecompressors(_module(config))
