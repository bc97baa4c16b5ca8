"""Where traces go: a file for each (`file_per_tap`)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format, text_format

from outrider.config import api

if TYPE_CHECKING:
    from outrider.config.view import View

_log: Final = logging.getLogger("outrider.tap")
_SUFFIXES: Final = {
    "JSON_BODY_AS_BYTES": ".json",
    "JSON_BODY_AS_STRING": ".json",
    "PROTO_BINARY": ".pb",
    "PROTO_BINARY_LENGTH_DELIMITED": ".pb_length_delimited",
    "PROTO_TEXT": ".pb_text",
}


class FileSink:
    """Raises ConfigError."""

    def __init__(self, view: View) -> None:
        self.format = view.enum("format")
        inner = view.message("file_per_tap")
        assert inner is not None
        self.prefix = inner.text("path_prefix")
        if not self.prefix:
            raise inner.error("value length must be at least 1 characters", "path_prefix")

    def write(self, trace: Any, trace_id: int) -> None:
        """Add a TraceWrapper to the file of its stream. What cannot be written is logged."""
        if self.format == "JSON_BODY_AS_STRING":
            _bodies_as_text(trace)
        try:
            with open(f"{self.prefix}_{trace_id}{_SUFFIXES[self.format]}", "ab") as file:
                file.write(self._encoded(trace))
        except OSError as error:
            _log.error("tap: %s", error)

    def _encoded(self, trace: Any) -> bytes:
        if self.format.startswith("JSON"):
            text = json_format.MessageToJson(
                trace,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
                descriptor_pool=api.pool(),
                indent=1,
            )
            return text.encode() + b"\n"
        if self.format == "PROTO_TEXT":
            return text_format.MessageToString(trace, descriptor_pool=api.pool()).encode()
        data: bytes = trace.SerializeToString()
        return data if self.format == "PROTO_BINARY" else _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bodies_as_text(trace: Any) -> None:
    if trace.HasField("http_buffered_trace"):
        bodies = [trace.http_buffered_trace.request, trace.http_buffered_trace.response]
        found = [each.body for each in bodies if each.HasField("body")]
    else:
        segment = trace.http_streamed_trace_segment
        names = ("request_body_chunk", "response_body_chunk")
        found = [getattr(segment, name) for name in names if segment.HasField(name)]
    for body in found:
        body.as_string = body.as_bytes.decode("utf-8", "replace")
