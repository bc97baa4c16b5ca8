"""gRPC messages become a response's JSON: one object, an array, lines, or server-sent events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError, Message

from outrider.extensions.filters.http.grpc_frames import FLAG_COMPRESSED, FrameDecoder, FrameError

if TYPE_CHECKING:
    from outrider.extensions.filters.http.grpc_json_transcoder.json_writer import JsonWriter
    from outrider.extensions.filters.http.grpc_json_transcoder.methods import Method

# How messages of a server stream are set apart.
STREAM_ARRAY: Final = 0
STREAM_LINES: Final = 1
STREAM_EVENTS: Final = 2


class AnswerError(ValueError):
    """What the upstream sends are not messages of the method."""


class ResponseTranslator:
    """One response. Holds one incomplete frame of at most `limit` bytes."""

    __slots__ = ("method", "style", "_writer", "_frames", "_begun")

    def __init__(self, method: Method, writer: JsonWriter, style: int, limit: int) -> None:
        self.method = method
        self.style = style
        self._writer = writer
        self._frames = FrameDecoder(limit)
        self._begun = False

    @property
    def held(self) -> int:
        return self._frames.held

    def messages(self, data: bytes) -> list[Message]:
        """The messages that are complete now. Raises AnswerError."""
        found: list[Message] = []
        try:
            for flags, payload in self._frames.decode(data):
                if flags & FLAG_COMPRESSED:
                    raise AnswerError("Unsupported gRPC frame flag: 1")
                message = self.method.output()
                message.ParseFromString(payload)
                found.append(message)
        except (FrameError, DecodeError) as error:
            raise AnswerError(str(error)) from None
        return found

    def feed(self, data: bytes) -> bytes:
        """The JSON of what is complete. Raises AnswerError."""
        out: list[bytes] = []
        for message in self.messages(data):
            try:
                text = self._writer.write(message)
            except (TypeError, ValueError) as error:
                raise AnswerError(str(error)) from None
            if not self.method.server_streaming:
                out.append(text)
            elif self.style == STREAM_LINES:
                out.append(text + b"\n")
            elif self.style == STREAM_EVENTS:
                out.append(b"data: " + text + b"\n\n")
            else:
                out.append((b"," if self._begun else b"[") + text)
            self._begun = True
        return b"".join(out)

    def finish(self) -> bytes:
        """What follows the last message."""
        if not self.method.server_streaming or self.style != STREAM_ARRAY:
            return b""
        return b"]" if self._begun else b"[]"

    def http_body(self, message: Message) -> Any:
        """The HttpBody that a message is or holds."""
        body: Any = message
        for field in self.method.answer_path:
            body = getattr(body, field.name)
        return body
