"""gRPC servers that proxies call (`<<grpc:NAME>>`): what they answer in a case, and their calls as text."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
        # Messages that each call had when the case began.
        self._before: dict[int, int] = {}

    def play(self, answers: Mapping[str, GrpcAnswer]) -> None:
        """From now on. What was received before is no longer shown. Calls that go on keep what they were told to do."""
        self.server.behaviours = {path: behaviour_of(answer) for path, answer in answers.items()}
        self._before = {id(call): len(call.messages) for call in self.server.calls}

    def report(self) -> str:
        """The calls since `play`, and what older ones have received."""
        texts: list[str] = []
        for call in list(self.server.calls):
            known = self._before.get(id(call))
            if known is None:
                texts.append(call_text(call))
            elif len(call.messages) > known:
                texts.append(f"[{call.path}, continued]\n{messages_text(call, known)}")
        return "\n".join(texts)

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


def call_text(call: Received) -> str:
    fields = sorted(f"{key}: {value}" for key, value in call.metadata if key != "user-agent")
    return "\n".join([f"[{call.path}]", *fields, messages_text(call, 0)])


def messages_text(call: Received, start: int) -> str:
    lines: list[str] = []
    type_name = method_input(call.path)
    for message in list(call.messages)[start:]:
        lines.append("-- message")
        if not type_name:
            lines.append(message.hex())
            continue
        decoded: Any = api.new(type_name)
        decoded.ParseFromString(message)
        if "identifier" in decoded.DESCRIPTOR.fields_by_name and decoded.HasField("identifier"):
            # Who we are and what we can do is another matter.
            for field in ("extensions", "user_agent_build_version", "user_agent_name"):
                decoded.identifier.node.ClearField(field)
        lines.append(text_format.MessageToString(decoded, descriptor_pool=api.pool()).rstrip())
    return "\n".join(lines)
