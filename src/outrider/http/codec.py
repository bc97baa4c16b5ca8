"""The contract between codecs and everybody else: direct calls, no event objects (Envoy's `envoy/http/codec.h`).

`decode_*` runs inwards (bytes became a message part), `encode_*` outwards. A body chunk is an immutable `bytes`.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.event.timer import TimerOwner

# Reasons of a stream reset (Envoy's StreamResetReason).
RESET_LOCAL: Final = 0
RESET_LOCAL_REFUSED_STREAM: Final = 1
RESET_REMOTE: Final = 2
RESET_REMOTE_REFUSED_STREAM: Final = 3
RESET_LOCAL_CONNECTION_FAILURE: Final = 4
RESET_REMOTE_CONNECTION_FAILURE: Final = 5
RESET_CONNECTION_TIMEOUT: Final = 6
RESET_CONNECTION_TERMINATION: Final = 7
RESET_OVERFLOW: Final = 8
RESET_CONNECT_ERROR: Final = 9
RESET_PROTOCOL_ERROR: Final = 10
RESET_OVERLOAD_MANAGER: Final = 11
RESET_HTTP1_PREMATURE_UPSTREAM_HALF_CLOSE: Final = 12
RESET_REASON_TEXT: Final[list[str]] = [
    "local reset",
    "local refused stream reset",
    "remote reset",
    "remote refused stream reset",
    "local connection failure",
    "remote connection failure",
    "connection timeout",
    "connection termination",
    "overflow",
    "remote error with CONNECT request",
    "protocol error",
    "overload manager reset",
    "http1 premature upstream half close",
]


class CodecProtocolError(Exception):
    """The peer broke the protocol; the connection cannot go on. `details` is the response-code detail."""

    def __init__(self, text: str, details: str = "") -> None:
        super().__init__(text)
        self.details = details


class FloodError(CodecProtocolError):
    """The peer sent, or let wait, more frames than allowed. Not counted as a protocol error.

    `stream_id` is the stream at fault, 0 = none in particular.
    """

    def __init__(self, text: str, details: str, stream_id: int = 0) -> None:
        super().__init__(text, details)
        self.stream_id = stream_id


class PrematureResponseError(CodecProtocolError):
    """An upstream spoke before it was asked, or after its response; `details` is the status in decimal."""


@mypyc_attr(allow_interpreted_subclasses=True)
class StreamCallbacks(TimerOwner):
    """Told of what happens to a stream outside its messages. It may own timers."""

    def on_reset_stream(self, reason: int, details: str) -> None:
        """The stream is dead: no further call will come, none may be made."""

    def on_above_write_buffer_high_watermark(self) -> None:
        """The far side of this stream takes no more for now."""

    def on_below_write_buffer_low_watermark(self) -> None:
        """The far side takes bytes again."""


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestDecoder(StreamCallbacks):
    """Takes a request from a server codec. One per request; implemented by ActiveStream."""

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        raise NotImplementedError

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        raise NotImplementedError

    def decode_trailers(self, trailers: HeaderMap) -> None:
        raise NotImplementedError

    def send_local_reply(self, code: int, body: str, details: str) -> None:
        """The codec refuses this request (with a status) before or while it is decoded."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class ResponseDecoder(StreamCallbacks):
    """Takes a response from a client codec. Implemented by the router's UpstreamRequest."""

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        raise NotImplementedError

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        raise NotImplementedError

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        raise NotImplementedError

    def decode_trailers(self, trailers: HeaderMap) -> None:
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class ResponseEncoder:
    """The writing end of a response on a server codec. Messages end with `end_stream` or with trailers."""

    # Wire bytes of this stream so far.
    wire_bytes_received: int
    wire_bytes_sent: int
    header_bytes_received: int
    header_bytes_sent: int
    # What the codec found wrong with the request; empty = nothing.
    response_details: str

    def encode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        raise NotImplementedError

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        raise NotImplementedError

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        raise NotImplementedError

    def encode_trailers(self, trailers: HeaderMap) -> None:
        raise NotImplementedError

    def reset_stream(self, reason: int) -> None:
        """Give the stream up. HTTP/1 closes the connection."""
        raise NotImplementedError

    def read_disable(self, disable: bool) -> None:
        """Counted: stop (True) or resume (False) taking this request's body from the peer."""
        raise NotImplementedError

    def set_flush_timeout(self, milliseconds: int) -> None:
        """The response is complete: give the stream up when the peer has not made room for it by then; 0 = never."""

    def set_decoder(self, decoder: RequestDecoder) -> None:
        """From now on events of this codec stream go to `decoder` (an internal redirect replaces the stream)."""
        raise NotImplementedError

    def stream_error_on_invalid_http_message(self) -> bool:
        """Whether an invalid message costs the stream only, not the connection."""
        return False


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestEncoder:
    """The writing end of a request on a client codec."""

    wire_bytes_received: int
    wire_bytes_sent: int
    header_bytes_received: int
    header_bytes_sent: int

    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        """Raises CodecProtocolError when the headers cannot be sent (missing method, path or host)."""
        raise NotImplementedError

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        raise NotImplementedError

    def encode_trailers(self, trailers: HeaderMap) -> None:
        raise NotImplementedError

    def enable_tcp_tunneling(self) -> None:
        """After CONNECT: bytes pass unframed (Envoy's enableTcpTunneling)."""

    def reset_stream(self, reason: int) -> None:
        raise NotImplementedError

    def read_disable(self, disable: bool) -> None:
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class ServerConnectionCallbacks:
    """What a server codec needs of the connection manager."""

    def new_stream(self, encoder: ResponseEncoder) -> RequestDecoder:
        """A request begins."""
        raise NotImplementedError

    def on_go_away(self) -> None:
        """The peer will open no more streams (HTTP/2)."""

    def on_codec_error(self, error: CodecProtocolError) -> None:
        """As if `dispatch` had raised `error`: bytes that were held back turned out to be wrong."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class ServerConnection:
    """A server codec bound to one downstream connection."""

    # data.stream_info protocol constant; HTTP/1 codecs set it per request.
    protocol: int

    def dispatch(self, data: bytes) -> None:
        """Feed bytes. Raises CodecProtocolError when the connection must be closed."""
        raise NotImplementedError

    def on_eof(self) -> None:
        """The peer half-closed."""

    def shutdown_notice(self) -> None:
        """Say that the connection will end (first GOAWAY); nothing for HTTP/1."""

    def go_away(self) -> None:
        """Take no new streams (final GOAWAY); nothing for HTTP/1."""

    def wants_to_write(self) -> bool:
        return False

    def on_underlying_connection_above_write_buffer_high_watermark(self) -> None:
        """The connection's write buffer is full: tell the streams."""

    def on_underlying_connection_below_write_buffer_low_watermark(self) -> None:
        """The write buffer has drained: tell the streams."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ClientConnectionCallbacks:
    """What a client codec needs of its pool."""

    def on_go_away(self, error: bool) -> None:
        """The peer takes no more streams."""

    def on_settings(self, max_concurrent_streams: int) -> None:
        """The peer's limit (HTTP/2)."""

    def on_stream_complete(self) -> None:
        """Request and response are both finished: the connection may serve again (or be closed)."""

    def on_stream_reset(self, reason: int) -> None:
        """The codec's stream was reset."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ClientConnection:
    """A client codec bound to one upstream connection."""

    protocol: int

    def dispatch(self, data: bytes) -> None:
        raise NotImplementedError

    def on_eof(self) -> None:
        """The peer half-closed: a body that runs until the end of the connection is complete (RFC 9112 6.3)."""

    def new_stream(self, decoder: ResponseDecoder) -> RequestEncoder:
        raise NotImplementedError

    def should_close(self) -> bool:
        """After a complete exchange: the peer (or we) asked for the connection to be closed."""
        return False

    def close_was_said(self) -> bool:
        """The last response announced that the connection closes (and does not merely last until then)."""
        return False

    def on_connection_closed(self, reason: int, details: str) -> None:
        """The connection is gone: streams in flight are reset with `reason`."""

    def on_underlying_connection_above_write_buffer_high_watermark(self) -> None:
        """Tell the streams to stop producing."""

    def on_underlying_connection_below_write_buffer_low_watermark(self) -> None:
        """Tell the streams to go on."""
