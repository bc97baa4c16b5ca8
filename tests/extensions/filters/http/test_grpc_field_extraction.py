"""envoy.filters.http.grpc_field_extraction: what is stored, what is refused, how much is held."""

from __future__ import annotations

import base64

import pytest

from outrider.config.errors import ConfigError
from outrider.extensions.filters.http import grpc_field_extraction
from outrider.extensions.filters.http.grpc_frames import frame
from tests.extensions.filters.http.scene import Scene, Stream, request_headers
from tests.support.grpc_shop import descriptor_set

assert grpc_field_extraction
TYPE = "envoy.extensions.filters.http.grpc_field_extraction.v3.GrpcFieldExtractionConfig"
NAME = "envoy.filters.http.grpc_field_extraction"
GRPC = ("content-type", "application/grpc+proto")


def scene(*paths: str, method: str = "shop.Shop.PutBook", **more: object) -> Scene:
    extractions = dict.fromkeys(paths, more)
    source = {"inline_bytes": base64.b64encode(descriptor_set()).decode()}
    config = {"descriptor_set": source, "extractions_by_method": {method: {"request_field_extractions": extractions}}}
    return Scene("grpc_field_extraction", TYPE, config)


def run(made: Scene, *pieces: bytes, path: str = "/shop.Shop/PutBook") -> Stream:
    stream = made.stream(request_headers(GRPC, method="POST", path=path), end=False)
    for number, piece in enumerate(pieces):
        stream.run_decode_data(0, piece, number == len(pieces) - 1)
    return stream


def test_values_wait_for_the_first_message() -> None:
    # shelf = "s"; book.title = "t"
    message = frame(b"\x0a\x01s\x12\x03\x12\x01t") + frame(b"\x0a\x01z")
    stream = run(scene("shelf", "book.title", "book.tags"), message[:7], message[7:])
    assert stream.stream_info.get_metadata(NAME) == {"shelf": ["s"], "book.title": ["t"], "book.tags": []}
    assert stream.passed


def test_key_of_ones_own() -> None:
    stream = run(scene("shelf", metadata_key="where"), frame(b"\x0a\x01s"))
    assert stream.stream_info.get_metadata(NAME) == {"where": ["s"]}


def test_other_methods_pass() -> None:
    stream = run(scene("shelf"), b"anything", path="/shop.Shop/GetBook")
    assert stream.passed and stream.stream_info.get_metadata(NAME) is None


@pytest.mark.parametrize(
    ("pieces", "path", "details"),
    [
        ((b"\0\0",), "/shop.Shop/PutBook", "INVALID_ARGUMENT{REQUEST_BUFFER_CONVERSION_FAIL}"),
        ((frame(b"\xff"),), "/shop.Shop/PutBook", "INVALID_ARGUMENT{REQUEST_FIELD_EXTRACTION_FAILED}"),
        ((b"x" * 1001,), "/shop.Shop/PutBook", "FAILED_PRECONDITION{REQUEST_BUFFER_CONVERSION_FAIL}"),
        ((b"",), "/a/b/c", "INVALID_ARGUMENT{BAD_REQUEST}"),
    ],
)
def test_refused(pieces: tuple[bytes, ...], path: str, details: str) -> None:
    made = scene("shelf")
    stream = made.stream(request_headers(GRPC, method="POST", path=path), end=False)
    for piece in pieces:
        if not stream.details:
            stream.run_decode_data(0, piece, True)
    assert stream.details == f"grpc_field_extraction_{details}"


@pytest.mark.parametrize(
    ("path", "method"),
    [("nope", "shop.Shop.PutBook"), ("book", "shop.Shop.PutBook"), ("dry_run", "shop.Shop.PutBook"), ("shelf", "shop.Shop.No")],
)
def test_bad_configuration(path: str, method: str) -> None:
    with pytest.raises(ConfigError):
        scene(path, method=method)
