"""A gRPC server of all four kinds on grpcio's asyncio side, for tests that run many calls at once on one loop."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

import grpc

OPTIONS = [
    ("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20),
    ("grpc.max_concurrent_streams", 2000), ("grpc.optimization_target", "throughput"),
]  # fmt: skip


class EchoServer:
    """Methods of `t.Echo`; each one's name says what it does. `cancelled` counts calls that their client gave up."""

    def __init__(self) -> None:
        self.port = 0
        self.cancelled = 0
        self.deadlines: list[float | None] = []
        self.metadata: list[dict[str, Any]] = []
        # Calls under way in `Gate`, which answers when there are `gate_size`.
        self.waiting = 0
        self.gate_size = 0
        self.gate = asyncio.Event()
        self.attempts = 0
        self._server: Any = None

    async def start(self) -> None:
        self._server = grpc.aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers((_Handler(self),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    def note(self, context: Any) -> None:
        self.metadata.append(dict(context.invocation_metadata()))
        self.deadlines.append(context.time_remaining())

    async def unary(self, request: bytes, context: Any) -> bytes:
        self.note(context)
        await context.send_initial_metadata([("x-first", "1"), ("x-raw-bin", b"\0\xff")])
        context.set_trailing_metadata([("x-last", "a"), ("x-last", "b"), ("x-end-bin", b"\1\xfe")])
        return request

    async def fail(self, request: bytes, context: Any) -> bytes:
        """Message: the code in decimal. The first `attempts` calls fail, those after them do not."""
        self.note(context)
        if self.attempts:
            self.attempts -= 1
            await context.abort(_CODES[int(request)], 'no "reason" \u00fc\n')
        return request

    async def client_stream(self, requests: Any, context: Any) -> bytes:
        return b"".join([request async for request in requests])

    async def server_stream(self, request: bytes, context: Any) -> Any:
        for number in range(int(request)):
            yield b"%d" % number

    async def both(self, requests: Any, context: Any) -> Any:
        async for request in requests:
            yield request

    async def hang(self, requests: Any, context: Any) -> Any:
        """Sends one message, and then nothing until it is cancelled."""
        self.note(context)
        try:
            yield b"begun"
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def gated(self, requests: Any, context: Any) -> Any:
        """Each call waits until `gate_size` of them are there."""
        async for request in requests:
            self.waiting += 1
            if self.waiting == self.gate_size:
                self.gate.set()
            await self.gate.wait()
            yield request


_CODES = {code.value[0]: code for code in grpc.StatusCode}


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    def __init__(self, server: EchoServer) -> None:
        self._handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(server.unary),
            "Fail": grpc.unary_unary_rpc_method_handler(server.fail),
            "ClientStream": grpc.stream_unary_rpc_method_handler(server.client_stream),
            "ServerStream": grpc.unary_stream_rpc_method_handler(server.server_stream),
            "Both": grpc.stream_stream_rpc_method_handler(server.both),
            "Hang": grpc.stream_stream_rpc_method_handler(server.hang),
            "Gate": grpc.stream_stream_rpc_method_handler(server.gated),
        }

    def service(self, details: Any) -> Any:
        service, _, method = details.method.rpartition("/")
        return self._handlers.get(method) if service == "/t.Echo" else None
