"""gRPC through the proxy with grpcio on both ends: all four kinds, metadata, deadlines, cancellation, sizes, numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

import grpc
from outrider.native import load_http2
from tests.integration.configuration import proxy_config
from tests.integration.conftest import Starter
from tests.support.grpc_echo import OPTIONS, EchoServer
from tests.support.ports import free_port

pytestmark = pytest.mark.skipif(not load_http2.AVAILABLE, reason="libnghttp2 was not there when this was built")

H2 = {
    "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 2000}},
        }
    },
    "circuit_breakers": {"thresholds": [{"max_requests": 5000, "max_pending_requests": 5000}]},
}
MANAGER = {"http2_protocol_options": {"max_concurrent_streams": 2000}}
Talk = Callable[[EchoServer, Any], Awaitable[None]]


def run(start: Starter, talk: Talk, route: dict[str, Any] | None = None) -> Any:
    """`talk` gets the server and a channel to the proxy before it; gives the proxy."""

    async def whole() -> Any:
        server = EchoServer()
        await server.start()
        admin_port, port = free_port(), free_port()
        config = proxy_config(admin_port, port, server.port, manager=MANAGER, cluster=H2, route=route)
        proxy = await asyncio.to_thread(start, config, admin_port)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
                await asyncio.wait_for(talk(server, channel), 60)
        finally:
            await server.stop()
        return proxy

    return asyncio.run(whole())


def stat(proxy: Any, name: str) -> int:
    lines = dict(line.rpartition(": ")[::2] for line in proxy.admin("/stats").body.splitlines())
    return int(lines[name])


def test_all_kinds_and_metadata(start: Starter) -> None:
    async def talk(server: EchoServer, channel: Any) -> None:
        call = channel.unary_unary("/t.Echo/Unary")(b"hello", metadata=[("x-ask", "1"), ("x-some-bin", b"\0\1\xff")])
        assert await call == b"hello"
        first = dict(await call.initial_metadata())
        assert first["x-first"] == "1" and first["x-raw-bin"] == b"\0\xff"
        last = [(key, value) for key, value in await call.trailing_metadata()]
        assert last == [("x-last", "a"), ("x-last", "b"), ("x-end-bin", b"\1\xfe")]
        assert server.metadata[0]["x-ask"] == "1" and server.metadata[0]["x-some-bin"] == b"\0\1\xff"
        joined = await channel.stream_unary("/t.Echo/ClientStream")(iter([b"a", b"bc", b""]))
        assert joined == b"abc"
        got = [each async for each in channel.unary_stream("/t.Echo/ServerStream")(b"100")]
        assert got == [b"%d" % number for number in range(100)]
        both = channel.stream_stream("/t.Echo/Both")()
        for number in range(20):
            await both.write(b"%d" % number)
            assert await both.read() == b"%d" % number
        await both.done_writing()
        assert await both.read() is grpc.aio.EOF
        assert await both.code() == grpc.StatusCode.OK

    proxy = run(start, talk)
    assert stat(proxy, "http.main.downstream_rq_http2_total") == 4
    assert stat(proxy, "cluster.up.upstream_cx_http2_total") == 1


def test_status_and_message(start: Starter) -> None:
    async def talk(server: EchoServer, channel: Any) -> None:
        server.attempts = 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/t.Echo/Fail")(b"9")
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.details() == 'no "reason" \u00fc\n'
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/t.Echo/Nothing")(b"")
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED

    run(start, talk)


def test_messages_of_4_mib(start: Starter) -> None:
    big = bytes(range(256)) * 16384

    async def talk(server: EchoServer, channel: Any) -> None:
        assert len(big) == 4 << 20
        assert await channel.unary_unary("/t.Echo/Unary")(big) == big
        both = channel.stream_stream("/t.Echo/Both")()
        for _ in range(3):
            await both.write(big)
            assert await both.read() == big
        await both.done_writing()

    run(start, talk)


def test_deadline_reaches_the_server(start: Starter) -> None:
    async def talk(server: EchoServer, channel: Any) -> None:
        await channel.unary_unary("/t.Echo/Unary")(b"x", timeout=30)
        assert server.deadlines[0] is not None and 25 < server.deadlines[0] <= 30
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in channel.stream_stream("/t.Echo/Hang")(iter([b"x"]), timeout=0.4):
                pass
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        while not server.cancelled:
            await asyncio.sleep(0.01)

    run(start, talk)


def test_route_timeout_bounds_the_deadline(start: Starter) -> None:
    async def talk(server: EchoServer, channel: Any) -> None:
        await channel.unary_unary("/t.Echo/Unary")(b"x", timeout=600)
        assert server.deadlines[0] is not None and server.deadlines[0] <= 5
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/t.Echo/Hang")(b"x", timeout=0.3)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED

    limits = {"grpc_timeout_header_max": "5s", "grpc_timeout_header_offset": "0.1s"}
    run(start, talk, {"timeout": "15s", "max_stream_duration": limits})


def test_timeout_is_a_status(start: Starter) -> None:
    async def talk(server: EchoServer, channel: Any) -> None:
        # Nobody opens the gate.
        server.gate_size = 2
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/t.Echo/Gate")(b"x")
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert caught.value.details() == "upstream request timeout"

    run(start, talk, {"timeout": "0.3s"})


def test_cancellation_reaches_the_server(start: Starter) -> None:
    async def talk(server: EchoServer, channel: Any) -> None:
        call = channel.stream_stream("/t.Echo/Hang")()
        assert await call.read() == b"begun"
        call.cancel()
        while not server.cancelled:
            await asyncio.sleep(0.01)
        # The connection goes on.
        assert await channel.unary_unary("/t.Echo/Unary")(b"x") == b"x"

    proxy = run(start, talk)
    assert stat(proxy, "http.main.downstream_cx_http2_total") == 1
    assert stat(proxy, "cluster.up.upstream_rq_tx_reset") == 1


def test_retries_on_statuses(start: Starter) -> None:
    async def talk(server: EchoServer, channel: Any) -> None:
        server.attempts = 2
        assert await channel.unary_unary("/t.Echo/Fail")(b"14") == b"14"
        server.attempts = 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/t.Echo/Fail")(b"3")
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    policy = {"retry_on": "unavailable,resource-exhausted", "num_retries": 3, "retry_back_off": {"base_interval": "0.01s"}}
    proxy = run(start, talk, {"retry_policy": policy})
    assert stat(proxy, "cluster.up.upstream_rq_retry") == 2
    assert stat(proxy, "cluster.up.upstream_rq_retry_success") == 1


def test_1000_streams_at_once(start: Starter) -> None:
    count = 1000

    async def talk(server: EchoServer, channel: Any) -> None:
        server.gate_size = count
        method = channel.stream_stream("/t.Echo/Gate")
        calls = [method() for _ in range(count)]
        for number, call in enumerate(calls):
            await call.write(b"%d" % number)
        answers = await asyncio.gather(*(call.read() for call in calls))
        assert answers == [b"%d" % number for number in range(count)]
        for call in calls:
            await call.done_writing()
        codes = await asyncio.gather(*(call.code() for call in calls))
        assert set(codes) == {grpc.StatusCode.OK}

    proxy = run(start, talk)
    assert stat(proxy, "http.main.downstream_rq_http2_total") == count
    assert stat(proxy, "cluster.up.upstream_cx_http2_total") == 1
    assert stat(proxy, "http2.streams_active") == 0
