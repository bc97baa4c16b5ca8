"""What a user of a gRPC service sees: calls with callbacks on the loop's thread, whatever carries them.

Messages are serialized protobufs. A status is a number of `data.grpc_status`. Source: Envoy's `Grpc::AsyncClient`,
"gRPC services" (core.v3.GrpcService); the gRPC-over-HTTP/2 protocol.
"""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.data.stream_info import StreamInfo


@mypyc_attr(allow_interpreted_subclasses=True)
class GrpcStreamCallbacks:
    """Told of the life of one stream. Any of them may come before `start` returns."""

    def parent_stream_info(self) -> StreamInfo | None:
        """The stream on whose behalf the call is made: what `initial_metadata` with commands is formatted from."""
        return None

    def on_create_initial_metadata(self, headers: RequestHeaderMap) -> None:
        """The request headers, before they are sent: further metadata can be added."""

    def on_initial_metadata(self, headers: HeaderMap) -> None:
        """The response headers (not for a trailers-only answer)."""

    def on_message(self, message: bytes) -> None:
        """One complete message, decompressed."""
        raise NotImplementedError

    def on_trailing_metadata(self, trailers: HeaderMap) -> None:
        """The trailers, before `on_remote_close`; empty when there were none."""

    def on_remote_close(self, status: int, message: str) -> None:
        """The end, told once: the server's, or one of our own making. Those are Envoy's: UNAVAILABLE without hosts,
        after a reset or a timeout before the response; INTERNAL for a malformed or broken off one.
        Not told after `reset`."""
        raise NotImplementedError

    def on_below_write_buffer_low_watermark(self) -> None:
        """Messages may be sent again after `GrpcStream.above_high_watermark` was true."""


@mypyc_attr(allow_interpreted_subclasses=True)
class GrpcUnaryCallbacks:
    """Told once of the outcome of a unary call, unless it was cancelled."""

    def parent_stream_info(self) -> StreamInfo | None:
        """As for streams."""
        return None

    def on_create_initial_metadata(self, headers: RequestHeaderMap) -> None:
        """The request headers, before they are sent."""

    def on_wire_bytes(self, sent: int, received: int) -> None:
        """Before the outcome: bytes of the call on the wire, headers included. Not told by `google_grpc`."""

    def on_success(self, message: bytes) -> None:
        """Status OK with one message."""
        raise NotImplementedError

    def on_failure(self, status: int, message: str) -> None:
        """Any other end."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class GrpcStream:
    """An open stream."""

    def send_message(self, message: bytes, end_stream: bool = False) -> None:
        """Send one message; nothing happens on a stream that has ended."""
        raise NotImplementedError

    def close(self) -> None:
        """No further message of ours; the server's are still read."""
        raise NotImplementedError

    def reset(self) -> None:
        """Break it off; no callback follows."""
        raise NotImplementedError

    def above_high_watermark(self) -> bool:
        """More should not be sent for now."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class GrpcCall:
    """A unary call in flight."""

    def cancel(self) -> None:
        """Nobody wants the answer; no callback follows."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class GrpcClient:
    """A service, as a `core.v3.GrpcService` names it. `grpc.factory.grpc_client(view, context)` makes one."""

    def start(
        self, service: str, method: str, callbacks: GrpcStreamCallbacks, timeout_ms: int = 0
    ) -> GrpcStream | None:
        """Open a stream to `/service/method`. None: it has ended before this returns (`on_remote_close` was called).
        `timeout_ms` bounds the whole stream, 0 = none: as in Envoy the service's own `timeout` is for unary calls."""
        raise NotImplementedError

    def send(
        self, service: str, method: str, message: bytes, callbacks: GrpcUnaryCallbacks, timeout_ms: int = 0
    ) -> GrpcCall | None:
        """A unary call. None: it has ended before this returns. `timeout_ms` 0 = the service's `timeout`, or none."""
        raise NotImplementedError
