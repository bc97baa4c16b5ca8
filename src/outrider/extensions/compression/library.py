"""What the compressor and decompressor filters need of a compression library."""

from __future__ import annotations

from typing import Final

from outrider.registry import ExtensionRegistry


class CompressionError(Exception):
    """The peer's data cannot be decompressed."""


class Compressor:
    """One body on its way out."""

    def compress(self, data: bytes, finish: bool) -> bytes:
        """What `data` becomes, flushed so that the peer can decompress it all; `finish` ends the body."""
        raise NotImplementedError


class Decompressor:
    """One body on its way in."""

    def decompress(self, data: bytes) -> bytes:
        """Raises CompressionError, also where a little data would become too much."""
        raise NotImplementedError


class CompressorLibrary:
    """Makes compressors. `encoding` is the content-coding (RFC 9110 section 8.4.1), `name` that of the statistics."""

    encoding: bytes = b""
    name: str = ""

    def create(self) -> Compressor:
        raise NotImplementedError


class DecompressorLibrary:
    encoding: bytes = b""
    name: str = ""

    def create(self) -> Decompressor:
        raise NotImplementedError


# Factories take `(config, context)`: `(View, FactoryContext)`.
COMPRESSORS: Final[ExtensionRegistry[CompressorLibrary]] = ExtensionRegistry("envoy.compression.compressor")
DECOMPRESSORS: Final[ExtensionRegistry[DecompressorLibrary]] = ExtensionRegistry("envoy.compression.decompressor")

MAX_RATIO: Final = 100
"""A chunk may become this many times its size; more is taken for an attack."""


def output_limit(size: int, ratio: int) -> int:
    """Bytes that `size` bytes of input may become: the ratio, with room for small inputs."""
    return max(size, 1) * ratio + 1024
