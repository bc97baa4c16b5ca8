"""A gRPC server (grpcio) that takes any method and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc


class Received:
    """One call as the server saw it. `messages` grows while the call goes on."""

    def __init__(self, path: str, metadata: list[tuple[str, Any]]) -> None:
        self.path = path
        self.metadata = metadata
        self.messages: list[bytes] = []
        self.cancelled = False
        self.deadline_s: float | None = None

    def header(self, name: str) -> Any:
        """The first value of a metadata field, None when there is none."""
        return next((value for key, value in self.metadata if key == name), None)


Behaviour = Callable[[Received, Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]


def echo(received: Received, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    """Each message back."""
    yield from messages


class GrpcTestServer:
    """Listens on loopback. Methods without a behaviour of their own answer each message with an empty one."""

    def __init__(self, behaviours: dict[str, Behaviour] | None = None, port: int = 0, credentials: Any = None) -> None:
        self.behaviours = behaviours or {}
        self.calls: list[Received] = []
        self.changed = threading.Condition()
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), handlers=[_AnyMethod(self)])
        address = f"127.0.0.1:{port}"
        if credentials is None:
            self.port: int = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()

    def handle(self, path: str, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        received = Received(path, [(key, value) for key, value in context.invocation_metadata()])
        remaining = context.time_remaining()
        received.deadline_s = None if remaining is None or remaining > 1e6 else remaining
        context.add_callback(lambda: self._ended(received, context))
        with self.changed:
            self.calls.append(received)
            self.changed.notify_all()
        behaviour = self.behaviours.get(path, _empty)
        yield from behaviour(received, self._recorded(received, messages), context)

    def _recorded(self, received: Received, messages: Iterator[bytes]) -> Iterator[bytes]:
        for message in messages:
            with self.changed:
                received.messages.append(message)
                self.changed.notify_all()
            yield message

    def _ended(self, received: Received, context: Any) -> None:
        with self.changed:
            received.cancelled = context.code() is None
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], timeout: float = 10.0) -> None:
        """Until a fact about `calls` holds. Raises AssertionError."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout), f"calls: {[(each.path, each.messages) for each in self.calls]}"

    def messages(self, path: str) -> list[bytes]:
        """All messages that a method received."""
        return [message for call in self.calls if call.path == path for message in call.messages]

    def stop(self) -> None:
        self._server.stop(None).wait(5)


def _empty(received: Received, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    for _ in messages:
        yield b""


class _AnyMethod(grpc.GenericRpcHandler):
    def __init__(self, server: GrpcTestServer) -> None:
        self.server = server

    def service(self, details: Any) -> Any:
        path = details.method

        def run(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            return self.server.handle(path, messages, context)

        return grpc.stream_stream_rpc_method_handler(run)
