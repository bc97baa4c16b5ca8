"""Compression libraries: what is compressed can be decompressed, chunk by chunk; bombs and rubbish are refused."""

from __future__ import annotations

import gzip
from typing import Any, cast

import pytest

from outrider.extensions.all_extensions import load_extensions
from outrider.extensions.compression.library import COMPRESSORS, DECOMPRESSORS, CompressionError
from tests.matching.support import view_of

load_extensions()
KINDS = ["gzip.compressor.v3.Gzip", "brotli.compressor.v3.Brotli", "zstd.compressor.v3.Zstd"]
PREFIX = "envoy.extensions.compression."


def pair(kind: str) -> tuple[Any, Any]:
    made = []
    for registry, name in ((COMPRESSORS, kind), (DECOMPRESSORS, kind.replace("compressor", "decompressor"))):
        factory = cast(Any, registry).find(PREFIX + name)
        made.append(factory(view_of(PREFIX + name, {}), None).create())
    return made[0], made[1]


@pytest.mark.parametrize("kind", KINDS)
def test_each_chunk_arrives_by_itself(kind: str) -> None:
    compressor, decompressor = pair(kind)
    assert decompressor.decompress(compressor.compress(b"one" * 30, False)) == b"one" * 30
    assert decompressor.decompress(compressor.compress(b"two", False)) == b"two"
    assert decompressor.decompress(compressor.compress(b"", True)) == b""


@pytest.mark.parametrize("kind", KINDS)
def test_bombs_are_refused(kind: str) -> None:
    compressor, decompressor = pair(kind)
    bomb = compressor.compress(bytes(3_000_000), True)
    with pytest.raises(CompressionError):
        decompressor.decompress(bomb)


@pytest.mark.parametrize("kind", KINDS)
def test_rubbish_is_refused(kind: str) -> None:
    with pytest.raises(CompressionError):
        pair(kind)[1].decompress(b"\xff\xfe rubbish that nothing compressed " * 4)


def test_gzip_is_gzip() -> None:
    assert gzip.decompress(pair(KINDS[0])[0].compress(b"text", True)) == b"text"
