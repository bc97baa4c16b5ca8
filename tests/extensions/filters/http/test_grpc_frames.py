"""Frames of gRPC: counted, taken apart, encoded, in whatever pieces they come; bounds."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.extensions.filters.http.grpc_charge import service_and_method
from outrider.extensions.filters.http.grpc_frames import FrameCounter, FrameDecoder, FrameError, frame
from outrider.extensions.filters.http.grpc_web import FrameEncoder

PAYLOADS = st.lists(st.binary(max_size=40), max_size=6)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    out: list[bytes] = []
    at = 0
    for size in sizes:
        out.append(data[at : at + size])
        at += size
    return [*out, data[at:]]


@given(PAYLOADS, st.lists(st.integers(0, 30), max_size=8))
def test_decoder_and_counter(payloads: list[bytes], sizes: list[int]) -> None:
    data = b"".join(frame(payload, 1) for payload in payloads)
    decoder = FrameDecoder()
    counter = FrameCounter()
    found = [each for piece in pieces(data, sizes) for each in decoder.decode(piece)]
    assert found == [(1, payload) for payload in payloads]
    assert decoder.held == 0
    assert sum(counter.inspect(piece) for piece in pieces(data, sizes)) == counter.count == len(payloads)


def test_counter_leaves_flagged_frames_out() -> None:
    assert FrameCounter(2).inspect(frame(b"a") + frame(b"{}", 2)) == 1


def test_limit() -> None:
    decoder = FrameDecoder(10)
    assert decoder.decode(frame(b"x" * 10)[:12]) == []
    assert decoder.held == 12
    with pytest.raises(FrameError):
        FrameDecoder(10).decode(frame(b"x" * 11))


@given(PAYLOADS, st.lists(st.integers(0, 30), max_size=8))
def test_base64_of_each_frame(payloads: list[bytes], sizes: list[int]) -> None:
    data = b"".join(map(frame, payloads))
    encoder = FrameEncoder()
    encoded = b"".join(encoder.encode(piece) for piece in pieces(data, sizes))
    assert encoded == b"".join(base64.b64encode(frame(payload)) for payload in payloads)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (b"/a.B/C", ("a.B", "C")), (b"//a.B//C/?x/y", ("a.B", "C")), (b"/a", None), (b"/a/b/c", None), (b"", None),
        (b"*", None),
    ],
)  # fmt: skip
def test_names(path: bytes, names: tuple[str, str] | None) -> None:
    assert service_and_method(path) == names
