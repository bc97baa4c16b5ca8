"""gRPC servers that proxies call (`<<grpc:NAME>>`): what they answer in a case, and their calls as text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from google.protobuf import text_format
from google.protobuf.descriptor import ServiceDescriptor

import grpc
from outrider.config import api
from tests.support.grpc_server import Behaviour, GrpcTestServer, Received

# One answer a message (the last one again and again), a status that the call ends with, or code.
GrpcAnswer = Sequence[bytes] | tuple[grpc.StatusCode, str] | Behaviour


class ScriptedGrpc:
    """A server whose methods do what the case says; without a word an empty message answers each one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.server = GrpcTestServer()
        self.port = self.server.port
        self._from = 0

    def play(self, answers: Mapping[str, GrpcAnswer]) -> None:
        """From now on. Calls made before are no longer shown."""
        self.server.behaviours = {path: behaviour_of(answer) for path, answer in answers.items()}
        self._from = len(self.server.calls)

    def report(self, settle: bool = False) -> str:
        """The calls since `play`."""
        return "\n".join(call_text(call) for call in list(self.server.calls)[self._from :])

    def close(self) -> None:
        self.server.stop()


def behaviour_of(answer: GrpcAnswer) -> Behaviour:
    if callable(answer):
        return answer
    if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], grpc.StatusCode):
        code, details = answer

        def abort(received: Received, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            for _ in messages:
                context.abort(code, details)
            yield b""

        return abort
    remaining = [each for each in answer if isinstance(each, bytes)]
    lock = threading.Lock()

    def reply(received: Received, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for _ in messages:
            with lock:
                yield remaining.pop(0) if len(remaining) > 1 else remaining[0]

    return reply


def method_input(path: str) -> str:
    """The full name of the message that a method takes; empty when it is not known."""
    service_name, _, method_name = path.lstrip("/").partition("/")
    try:
        service: ServiceDescriptor = api.pool().FindServiceByName(service_name)
        return str(service.methods_by_name[method_name].input_type.full_name)
    except KeyError:
        return ""


def call_text(call: Received, skip: Callable[[str], bool] | None = None) -> str:
    fields = sorted(f"{key}: {value}" for key, value in call.metadata if key != "user-agent")
    lines = [f"[{call.path}]", *fields]
    type_name = method_input(call.path)
    for message in list(call.messages):
        lines.append("-- message")
        if not type_name:
            lines.append(message.hex())
            continue
        decoded = api.new(type_name)
        decoded.ParseFromString(message)
        lines.append(text_format.MessageToString(decoded, descriptor_pool=api.pool()).rstrip())
    return "\n".join(lines)
