"""envoy.filters.http.ext_proc: body modes and ends. What single edits do is compared with Envoy in tests/parity."""

from __future__ import annotations

from typing import Any, cast

import pytest

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.event.timer import Timer, TimerOwner, TimerWheel, WheelClock
from outrider.extensions.filters.http import ext_proc
from outrider.extensions.filters.http.ext_proc.settings import ExtProcFactory
from outrider.grpc.client import GrpcCall, GrpcClient, GrpcStream, GrpcStreamCallbacks, GrpcUnaryCallbacks
from tests.extensions.filters.http.scene import Scene, Stream, request_headers

assert ext_proc
TYPE = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"
ROUTE = "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
SERVICE = {"envoy_grpc": {"cluster_name": "proc"}}


class HandClock(WheelClock):
    def __init__(self) -> None:
        self.now = 1000

    def now_ms(self) -> int:
        return self.now

    def wake_at(self, when_ms: int) -> None:
        pass


class HandDispatcher:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.wheel = TimerWheel(self.clock)

    def timer(self, owner: TimerOwner, kind: int) -> Timer:
        return Timer(self.wheel, owner, kind)

    def pass_ms(self, time: int) -> None:
        self.clock.now += time
        self.wheel.advance()


class FakeStream(GrpcStream):
    def __init__(self, callbacks: GrpcStreamCallbacks) -> None:
        self.callbacks = callbacks
        self.sent: list[Any] = []
        self.state = "open"

    def send_message(self, message: bytes, end_stream: bool = False) -> None:
        told = api.new("envoy.service.ext_proc.v3.ProcessingRequest")
        cast(Any, told).ParseFromString(message)
        self.sent.append(told)

    def close(self) -> None:
        self.state = "closed"

    def reset(self) -> None:
        self.state = "reset"

    def above_high_watermark(self) -> bool:
        return False

    def say(self, kind: str, **fields: Any) -> None:
        """An answer; `fields` are those of its CommonResponse, or of the answer itself."""
        answer: Any = api.new("envoy.service.ext_proc.v3.ProcessingResponse")
        target = getattr(answer, kind)
        target.SetInParent()
        if kind.endswith(("headers", "body")):
            target = target.response
            target.SetInParent()
        for name, value in fields.items():
            if name == "body":
                target.body_mutation.body = value
            elif name == "duplex":
                target.body_mutation.streamed_response.body = value[0]
                target.body_mutation.streamed_response.end_of_stream = value[1]
            elif name == "set":
                target.header_mutation.set_headers.add().header.key = value[0]
                target.header_mutation.set_headers[0].header.raw_value = value[1]
            else:
                setattr(target, name, value)
        self.callbacks.on_message(answer.SerializeToString())


class FakeClient(GrpcClient):
    def __init__(self) -> None:
        self.streams: list[FakeStream] = []
        self.fails = False

    def start(self, service: str, method: str, callbacks: GrpcStreamCallbacks, timeout_ms: int = 0) -> GrpcStream | None:
        if self.fails:
            callbacks.on_remote_close(14, "nobody there")
            return None
        callbacks.on_create_initial_metadata(RequestHeaderMap())
        self.streams.append(FakeStream(callbacks))
        return self.streams[-1]

    def send(
        self, service: str, method: str, message: bytes, callbacks: GrpcUnaryCallbacks, timeout_ms: int = 0
    ) -> GrpcCall | None:
        raise AssertionError("unary")


class ProcScene(Scene):
    def __init__(self, **config: Any) -> None:
        self.hand = HandDispatcher()
        super().__init__("ext_proc", TYPE, {"grpc_service": SERVICE, **config}, self.hand)
        self.client = FakeClient()
        cast(ExtProcFactory, self.factory).settings.client = self.client

    @property
    def told(self) -> FakeStream:
        return self.client.streams[-1]

    def kinds(self) -> list[str]:
        shown: list[str] = []
        for each in self.told.sent:
            kind = each.WhichOneof("request")
            part = getattr(each, kind)
            text = part.body.decode() + ("!" if part.end_of_stream else "") if kind.endswith("body") else ""
            shown.append(f"{kind} {text}".strip())
        return shown


def body(stream: Stream, data: bytes, end: bool = False) -> None:
    if end:
        stream.remote_complete = True
    stream.run_decode_data(0, data, end)


def respond(stream: Stream, *chunks: bytes, trailers: HeaderMap | None = None) -> None:
    stream.encode_headers_from(None, ResponseHeaderMap(status=200), not chunks)
    for index, chunk in enumerate(chunks):
        stream.encode_data_from(None, chunk, index == len(chunks) - 1 and trailers is None)
    if trailers is not None:
        stream.encode_trailers_from(None, trailers)


def test_headers_wait_for_the_answer() -> None:
    scene = ProcScene()
    stream = scene.stream(request_headers())
    assert not stream.passed and scene.kinds() == ["request_headers"]
    scene.told.say("request_headers", set=("x-a", b"1"))
    assert stream.passed and stream.request_headers is not None and stream.request_headers.get(b"x-a") == b"1"
    respond(stream)
    assert stream.out == []
    scene.told.say("response_headers")
    assert stream.out == ["headers 200!", "sent"]
    assert scene.told.state == "closed"
    assert scene.counter("ext_proc.stream_msgs_received") == 2


def test_streamed_chunks_keep_their_order() -> None:
    scene = ProcScene(processing_mode={"response_body_mode": "STREAMED", "request_header_mode": "SKIP", "response_header_mode": "SKIP"})
    stream = scene.stream(request_headers())
    respond(stream, b"one", b"two", b"three")
    assert scene.kinds() == ["response_body one", "response_body two", "response_body three!"]
    assert stream.out == ["headers 200"]
    scene.told.say("response_body")
    scene.told.say("response_body", body=b"TWO")
    scene.told.say("response_body")
    assert stream.out == ["headers 200", "data one", "data TWO", "data three!", "sent"]


def test_streamed_body_that_came_before_the_headers_answer() -> None:
    scene = ProcScene(processing_mode={"request_body_mode": "STREAMED", "response_header_mode": "SKIP"})
    stream = scene.stream(request_headers(), end=False)
    body(stream, b"one")
    assert scene.kinds() == ["request_headers"]
    scene.told.say("request_headers")
    assert scene.kinds() == ["request_headers", "request_body one"]
    assert stream.passed
    body(stream, b"two", end=True)
    assert scene.kinds()[-1] == "request_body two!"


def test_streamed_body_does_not_wait_when_told_so() -> None:
    scene = ProcScene(
        processing_mode={"request_body_mode": "STREAMED"}, send_body_without_waiting_for_header_response=True
    )
    stream = scene.stream(request_headers(), end=False)
    body(stream, b"one", end=True)
    assert scene.kinds() == ["request_headers", "request_body one!"]
    scene.told.say("request_headers")
    scene.told.say("request_body")
    assert stream.passed


def test_duplex() -> None:
    mode = {"response_body_mode": "FULL_DUPLEX_STREAMED", "response_trailer_mode": "SEND", "request_header_mode": "SKIP"}
    scene = ProcScene(processing_mode=mode)
    stream = scene.stream(request_headers())
    trailers = HeaderMap({b"x-t": b"1"})
    respond(stream, b"one", b"two", trailers=trailers)
    assert scene.kinds() == ["response_headers", "response_body one", "response_body two", "response_trailers"]
    scene.told.say("response_headers")
    scene.told.say("response_body", duplex=(b"o", False))
    scene.told.say("response_body", duplex=(b"netwo", False))
    scene.told.say("response_trailers")
    assert stream.out == ["headers 200", "data o", "data netwo", "trailers", "sent"]
    assert scene.counter("ext_proc.spurious_msgs_received") == 0


def test_partial_body_goes_on_unseen() -> None:
    scene = ProcScene(processing_mode={"response_body_mode": "BUFFERED_PARTIAL", "request_header_mode": "SKIP"})
    stream = scene.stream(request_headers())
    stream.buffer_limit = 4
    stream.encode_headers_from(None, ResponseHeaderMap(status=200), False)
    scene.told.say("response_headers")
    stream.encode_data_from(None, b"abc", False)
    assert scene.kinds() == ["response_headers"]
    stream.encode_data_from(None, b"def", False)
    assert scene.kinds() == ["response_headers", "response_body abcdef"]
    stream.encode_data_from(None, b"held", False)
    scene.told.say("response_body", body=b"X")
    stream.encode_data_from(None, b"rest", True)
    assert stream.out == ["headers 200", "data X", "data held", "data rest!", "sent"]


def test_observability_never_waits() -> None:
    scene = ProcScene(
        observability_mode=True, processing_mode={"request_body_mode": "STREAMED"}, deferred_close_timeout="1s"
    )
    stream = scene.stream(request_headers(), end=False)
    assert stream.passed
    body(stream, b"one", end=True)
    assert scene.kinds() == ["request_headers", "request_body one!"]
    assert all(each.observability_mode for each in scene.told.sent)
    scene.told.say("request_headers", set=("x-a", b"1"))
    assert stream.request_headers is not None and stream.request_headers.get(b"x-a") is None
    stream.destroy_filters()
    assert scene.told.state == "open"
    scene.hand.pass_ms(1100)
    assert scene.told.state == "reset"


def test_silence() -> None:
    scene = ProcScene()
    stream = scene.stream(request_headers())
    scene.hand.pass_ms(300)
    assert stream.out == ["reply 504 "] and stream.details == "ext_proc_error_per-message_timeout_exceeded"
    assert scene.told.state == "reset"
    lenient = ProcScene(failure_mode_allow=True, message_timeout="0.1s")
    stream = lenient.stream(request_headers())
    lenient.hand.pass_ms(300)
    assert stream.passed and lenient.counter("ext_proc.failure_mode_allowed") == 1


def test_no_processor() -> None:
    scene = ProcScene()
    scene.client.fails = True
    assert scene.stream(request_headers()).details == "ext_proc_error_gRPC_error_14{nobody there}"
    lenient = ProcScene(failure_mode_allow=True)
    lenient.client.fails = True
    assert lenient.stream(request_headers()).passed
    assert lenient.counter("ext_proc.streams_failed") == 1


def test_end_of_the_processor_lets_chunks_go() -> None:
    scene = ProcScene(processing_mode={"response_body_mode": "STREAMED", "request_header_mode": "SKIP", "response_header_mode": "SKIP"})
    stream = scene.stream(request_headers())
    respond(stream, b"one", b"two")
    scene.told.callbacks.on_remote_close(0, "")
    assert stream.out == ["headers 200", "data onetwo!", "sent"]


def test_nothing_outlives_the_stream() -> None:
    scene = ProcScene()
    stream = scene.stream(request_headers())
    stream.destroy_filters()
    assert scene.told.state == "closed"
    scene.told.say("request_headers")
    scene.hand.pass_ms(2000)
    assert scene.told.state == "reset" and scene.hand.wheel.pending() == 0
    assert stream.out == []


def test_routes() -> None:
    scene = ProcScene()
    assert scene.stream(request_headers(), scene.route_config(ROUTE, {"disabled": True})).passed
    assert scene.client.streams == []
    mode = {"overrides": {"processing_mode": {"request_header_mode": "SKIP", "response_header_mode": "SKIP"}}}
    lenient = {"overrides": {"failure_mode_allow": True}}
    assert scene.stream(request_headers(), scene.route_config(ROUTE, mode), scene.route_config(ROUTE, lenient)).passed


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"http_service": {"http_service": {"http_uri": {"uri": "http://a/b", "cluster": "c", "timeout": "1s"}}}}, "One and only one"),
        ({"processing_mode": {"request_body_mode": "FULL_DUPLEX_STREAMED"}}, "request_trailer_mode has to be set to SEND"),
        ({"disable_clear_route_cache": True, "route_cache_action": "CLEAR"}, "can not be set to none-default"),
        ({"request_attributes": ["request.path == '/'"]}, "not the path of an attribute"),
    ],
)
def test_refused(config: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        ProcScene(**config)
