"""The filter manager: order, stopping, buffering, resuming. No codec, no connection."""

from __future__ import annotations

import pytest

from outrider.data.address import ip_address
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.stream_info import HTTP11, ConnectionInfo, StreamInfo
from outrider.http import filter as f
from outrider.http.filter import HttpFilter, HttpFilterFactory
from outrider.http.filter_chain import FilterChainEntry, HttpFilterChain, hooks_of
from outrider.http.filter_manager import FilterManager
from outrider.network.connection import Connection
from tests.support.dispatcher import idle_dispatcher


class Recorder(HttpFilter):
    """Writes down what passes and answers with the statuses it was given."""

    def __init__(self, name: str, log: list[str], answers: dict[str, list[int]]) -> None:
        self.name = name
        self.log = log
        self.answers = answers

    def _answer(self, hook: str, text: str) -> int:
        self.log.append(f"{self.name}.{hook}{text}")
        queue = self.answers.get(hook)
        return queue.pop(0) if queue else 0

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        return self._answer("dh", "!" if end_stream else "")

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        return self._answer("dd", f"({data.decode()}{'!' if end_stream else ''})")

    def decode_trailers(self, trailers: HeaderMap) -> int:
        return self._answer("dt", "")

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        return self._answer("eh", "!" if end_stream else "")

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        return self._answer("ed", f"({data.decode()}{'!' if end_stream else ''})")

    def encode_trailers(self, trailers: HeaderMap) -> int:
        return self._answer("et", "")

    def on_destroy(self) -> None:
        self.log.append(f"{self.name}.destroy")


class Factory(HttpFilterFactory):
    def __init__(self, made: HttpFilter) -> None:
        self.made = made

    def create(self) -> HttpFilter:
        return self.made


class Stream(FilterManager):
    """A stream whose far ends are lists."""

    def __init__(self, limit: int = 100) -> None:
        address = ip_address("127.0.0.1", 1)
        info = ConnectionInfo(1, address, address)
        dispatcher = idle_dispatcher()
        super().__init__(Connection(dispatcher, info), dispatcher, StreamInfo(info, 0, 0, HTTP11), limit)
        self.out: list[str] = []

    def send_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self.out.append(f"headers {headers.status}{'!' if end_stream else ''}")

    def send_data(self, data: bytes, end_stream: bool) -> None:
        self.out.append(f"data {data.decode()}{'!' if end_stream else ''}")

    def send_trailers(self, trailers: HeaderMap) -> None:
        self.out.append("trailers")

    def on_response_sent(self) -> None:
        self.out.append("sent")

    def on_request_too_large(self) -> None:
        self.out.append("413")

    def on_response_too_large(self) -> None:
        self.out.append("500")

    def on_decoder_filter_above_write_buffer_high_watermark(self) -> None:
        self.out.append("pause")

    def on_decoder_filter_below_write_buffer_low_watermark(self) -> None:
        self.out.append("resume")


def stream(*answers: dict[str, list[int]], limit: int = 100) -> tuple[Stream, list[Recorder], list[str]]:
    log: list[str] = []
    made = Stream(limit)
    filters = [Recorder(chr(ord("a") + index), log, each) for index, each in enumerate(answers)]
    for each in filters:
        made.create_filter(FilterChainEntry(Factory(each), each.name))
    made.finish_chain()
    return made, filters, log


def request(made: Stream, headers: RequestHeaderMap, body: list[str], trailers: bool = False) -> None:
    """Feed a whole request as the codec would."""
    made.request_headers = headers
    made.remote_complete = not body and not trailers
    made.run_decode_headers(0, headers, made.remote_complete)
    for index, chunk in enumerate(body):
        made.remote_complete = index == len(body) - 1 and not trailers
        made.run_decode_data(0, chunk.encode(), made.remote_complete)
    if trailers:
        made.remote_complete = True
        made.request_trailers = HeaderMap({b"x": b"1"})
        made.run_decode_trailers(0, made.request_trailers)


def test_requests_in_order_responses_in_reverse() -> None:
    made, _, log = stream({}, {})
    request(made, RequestHeaderMap(), ["x", "y"], trailers=True)
    assert log == ["a.dh", "b.dh", "a.dd(x)", "b.dd(x)", "a.dd(y)", "b.dd(y)", "a.dt", "b.dt"]
    log.clear()
    made.encode_headers_from(None, ResponseHeaderMap(status=200), False)
    made.encode_data_from(None, b"z", True)
    assert log == ["b.eh", "a.eh", "b.ed(z!)", "a.ed(z!)"]
    assert made.out == ["headers 200", "data z!", "sent"]


def test_stop_iteration_holds_headers_until_body_lets_them_pass() -> None:
    made, _, log = stream({"dh": [f.HEADERS_STOP_ITERATION]}, {})
    request(made, RequestHeaderMap(), ["x", "y"])
    # The first body chunk is answered with Continue, which releases the headers and everything held.
    assert log == ["a.dh", "a.dd(x)", "b.dh", "b.dd(x)", "a.dd(y!)", "b.dd(y!)"]


def test_stop_and_buffer_delivers_the_whole_body_at_once() -> None:
    made, _, log = stream(
        {"dh": [f.HEADERS_STOP_ITERATION], "dd": [f.DATA_STOP_AND_BUFFER, f.DATA_STOP_AND_BUFFER, f.DATA_CONTINUE]}, {}
    )
    request(made, RequestHeaderMap(), ["x", "y", "z"])
    assert log == ["a.dh", "a.dd(x)", "a.dd(y)", "a.dd(z!)", "b.dh", "b.dd(xyz!)"]
    assert made.decoding_buffer() is None


@pytest.mark.parametrize("status", [f.HEADERS_STOP_ALL_AND_BUFFER, f.HEADERS_STOP_ALL_AND_WATERMARK])
def test_stop_all_resumes_at_the_filter_itself(status: int) -> None:
    made, filters, log = stream({"dh": [status]}, {})
    request(made, RequestHeaderMap(), ["x", "y"], trailers=True)
    assert log == ["a.dh"]
    made.continue_decoding(filters[0])
    assert log == ["a.dh", "b.dh", "a.dd(xy)", "b.dd(xy)", "a.dt", "b.dt"]


def test_resume_of_a_request_without_body() -> None:
    made, filters, log = stream({"dh": [f.HEADERS_STOP_ALL_AND_WATERMARK]}, {})
    request(made, RequestHeaderMap(), [])
    made.continue_decoding(filters[0])
    assert log == ["a.dh!", "b.dh!"]
    made.continue_decoding(filters[0])
    assert log == ["a.dh!", "b.dh!"]


def test_no_buffer_still_delivers_the_end() -> None:
    made, filters, log = stream({"dh": [f.HEADERS_STOP_ITERATION], "dd": [f.DATA_STOP_NO_BUFFER]}, {})
    request(made, RequestHeaderMap(), ["x"])
    made.continue_decoding(filters[0])
    assert log == ["a.dh", "a.dd(x!)", "b.dh", "b.dd(!)"]


def test_a_body_added_to_a_request_without_one() -> None:
    class Adder(Recorder):
        def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
            self.manager.add_decoded_data(self, b"added", False)
            return super().decode_headers(headers, end_stream)

    log: list[str] = []
    made = Stream()
    for each in (Adder("a", log, {}), Recorder("b", log, {})):
        made.create_filter(FilterChainEntry(Factory(each), each.name))
    made.finish_chain()
    request(made, RequestHeaderMap(), [])
    assert log == ["a.dh!", "b.dh", "b.dd(added!)"]


def test_limits_of_buffers() -> None:
    made, filters, _ = stream({"dh": [f.HEADERS_STOP_ITERATION], "dd": [f.DATA_STOP_AND_BUFFER]}, {}, limit=3)
    request(made, RequestHeaderMap(), ["xxxx"])
    assert made.out == ["413"]
    made, filters, _ = stream({"dh": [f.HEADERS_STOP_ALL_AND_WATERMARK]}, {}, limit=3)
    request(made, RequestHeaderMap(), ["xxxx", "y"])
    assert made.out == ["pause"]
    made.continue_decoding(filters[0])
    assert made.out == ["pause", "resume"]
    made, _, _ = stream({}, {"eh": [f.HEADERS_STOP_ITERATION], "ed": [f.DATA_STOP_AND_BUFFER]}, limit=3)
    made.encode_headers_from(None, ResponseHeaderMap(status=200), False)
    made.encode_data_from(None, b"xxxx", False)
    assert made.out == ["500"]


def test_encoding_stops_and_resumes() -> None:
    made, _, log = stream({}, {"eh": [f.HEADERS_STOP_ITERATION], "ed": [f.DATA_STOP_AND_BUFFER]})
    made.encode_headers_from(None, ResponseHeaderMap(status=200), False)
    made.encode_data_from(None, b"x", False)
    assert made.out == []
    made.encode_data_from(None, b"y", True)
    assert made.out == ["headers 200", "data xy!", "sent"]
    assert log == ["b.eh", "b.ed(x)", "b.ed(y!)", "a.eh", "a.ed(xy!)"]


def test_trailers_added_with_the_last_data() -> None:
    class Adder(Recorder):
        def encode_data(self, data: bytes, end_stream: bool) -> int:
            if end_stream:
                self.manager.add_encoded_trailers().add(b"x", b"1")
            return super().encode_data(data, end_stream)

    log: list[str] = []
    made = Stream()
    for each in (Recorder("a", log, {}), Adder("b", log, {})):
        made.create_filter(FilterChainEntry(Factory(each), each.name))
    made.finish_chain()
    made.encode_headers_from(None, ResponseHeaderMap(status=200), False)
    made.encode_data_from(None, b"x", True)
    assert log == ["b.eh", "a.eh", "b.ed(x!)", "a.ed(x)", "a.et"]
    assert made.out == ["headers 200", "data x", "trailers", "sent"]


def test_destroyed_filters_hear_nothing_more() -> None:
    made, filters, log = stream({"dh": [f.HEADERS_STOP_ITERATION]}, {})
    request(made, RequestHeaderMap(), [])
    made.destroy_filters()
    made.destroy_filters()
    made.continue_decoding(filters[0])
    made.encode_headers_from(None, ResponseHeaderMap(status=200), True)
    assert log == ["a.dh!", "a.destroy", "b.destroy"]
    assert made.out == []


def test_hooks_are_found_by_class() -> None:
    class OnlyHeaders(HttpFilter):
        def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
            return f.HEADERS_CONTINUE

    assert hooks_of(OnlyHeaders()) == 1
    assert hooks_of(HttpFilter()) == 0
    assert hooks_of(Recorder("a", [], {})) == 3
    assert HttpFilterChain([FilterChainEntry(Factory(HttpFilter()), "x", True)]).any_disabled
