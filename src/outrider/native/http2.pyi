"""HTTP/2 sessions over nghttp2: frames, HPACK, stream states. Policy is the handler's.

A handler is any object with the methods of `Http2Handler`. They are called from within `feed` and, for
`on_stream_closed` and `on_invalid_frame`, from within `drain`; they may submit anything but must not feed or drain.
What a handler raises comes out of `feed` or `drain`, and ends the session.
"""

from typing import Protocol

class Http2Handler(Protocol):
    """Takes what a session finds. Header maps are as in `data.header_map`: `single` by name, `multi` for repeats."""

    def on_stream_opened(self, stream_id: int) -> None:
        """The peer begins a request (server)."""

    def on_request_headers(
        self,
        stream_id: int,
        method: bytes,
        path: bytes,
        authority: bytes,
        scheme: bytes,
        protocol: bytes,
        single: dict[bytes, bytes],
        multi: dict[bytes, list[bytes]] | None,
        end_stream: bool,
        size: int,
    ) -> None:
        """A request's header block, `size` bytes on the wire. Absent pseudo-headers are empty; `host` fills in."""

    def on_response_headers(
        self,
        stream_id: int,
        status: int,
        single: dict[bytes, bytes],
        multi: dict[bytes, list[bytes]] | None,
        end_stream: bool,
        size: int,
    ) -> None:
        """A response's header block, interim ones included."""

    def on_trailers(
        self, stream_id: int, single: dict[bytes, bytes], multi: dict[bytes, list[bytes]] | None, size: int
    ) -> None:
        """The message ends with these."""

    def on_data(self, stream_id: int, data: bytes, end_stream: bool, wire: int) -> None:
        """Body bytes: those of consecutive DATA frames of one feed in one. They are to be given to `consume`."""

    def on_stream_closed(self, stream_id: int, code: int) -> None:
        """The stream is gone, complete or reset (`code`)."""

    def on_reset(self, stream_id: int, code: int) -> None:
        """The peer sent RST_STREAM; `on_stream_closed` follows."""

    def on_goaway(self, last_stream_id: int, code: int) -> None: ...
    def on_settings(self) -> None:
        """The peer's settings have changed."""

    def on_ping_ack(self, data: bytes) -> None: ...
    def on_header_overflow(self, too_many: bool) -> None:
        """The header block is larger than allowed, or has too many fields; the library resets the stream."""

    def on_underscore(self, stream_id: int) -> None:
        """A field name with an underscore, to be rejected; the library resets the stream."""

    def on_invalid_frame(self, stream_id: int, code: int) -> bool:
        """`code` is one of `http2_error.LIB_*`. True: an error of the stream only, which the library resets."""

class OutStream:
    """The sending half of a stream."""

    @property
    def pending(self) -> int:
        """Body bytes that wait for the peer's window or for `drain`."""
    @property
    def wire_bytes(self) -> int:
        """Bytes handed out by `drain`, frame heads included."""
    @property
    def header_bytes(self) -> int: ...
    @property
    def high(self) -> bool: ...

class Http2Session:
    """One connection's session. `drain` gives the bytes to write; nothing is sent otherwise.

    `max_header_list` limits the sum of names and values of a block in bytes, `max_headers` their number. `send_limit`
    is the number of unsent body bytes above which `send_data` says so (0 = none). The limits of frames are those of
    `Http2ProtocolOptions`; exceeding one raises Http2Error.
    """

    def __init__(
        self,
        handler: object,
        server: bool,
        *,
        max_header_list: int = 61440,
        max_headers: int = 100,
        underscores: int = 0,
        send_limit: int = 0,
        hpack_table_size: int = 4096,
        max_empty_frames: int = 1,
        max_priority_frames: int = 100,
        max_window_updates: int = 10,
        reset_burst: int = 0,
        reset_rate: int = 0,
    ) -> None: ...
    @property
    def opened_streams(self) -> int: ...
    @property
    def data_frames_sent(self) -> int: ...
    @property
    def frames_sent(self) -> int:
        """Frames handed out by `drain` so far."""
    @property
    def control_frames_sent(self) -> int:
        """Those of them that are PING, SETTINGS or RST_STREAM."""
    @property
    def goaways_sent(self) -> int: ...
    @property
    def resets_sent(self) -> int: ...
    @property
    def dropped(self) -> int:
        """Fields left out because of an underscore."""
    @property
    def pending_bytes(self) -> int:
        """Body bytes of all streams that wait for the peer's windows or for `drain`."""
    @property
    def wants_read(self) -> bool:
        """False once the session has ended, by GOAWAY or an error."""
    @property
    def wants_write(self) -> bool: ...
    @property
    def peer_max_concurrent_streams(self) -> int: ...
    @property
    def peer_allows_connect(self) -> bool: ...
    @property
    def unsent(self) -> bool:
        """Whether bodies or trailers wait for the peer's window."""
    def submit_settings(self, entries: list[tuple[int, int]]) -> None: ...
    def set_connection_window(self, size: int) -> None: ...
    def feed(self, data: bytes) -> None:
        """Parse. Raises Http2Error, or what the handler raised; the session is of no more use then but for `drain`."""
    def drain(self) -> bytes:
        """What is to be written; empty from within `feed`."""
    def take_lows(self) -> list[int]:
        """Ids of streams whose unsent bytes have fallen below half of the limit since the last call."""
    def submit_request(
        self,
        method: bytes,
        scheme: bytes,
        authority: bytes,
        path: bytes,
        protocol: bytes,
        single: dict[bytes, bytes],
        multi: dict[bytes, list[bytes]] | None,
        end_stream: bool,
    ) -> tuple[int, OutStream]:
        """Open a stream: its id and sending half. Fields of one HTTP/1 hop are left out. Raises Http2Error."""
    def submit_response(
        self,
        stream_id: int,
        status: int,
        single: dict[bytes, bytes],
        multi: dict[bytes, list[bytes]] | None,
        end_stream: bool,
    ) -> OutStream: ...
    def submit_informational(
        self, stream_id: int, status: int, single: dict[bytes, bytes], multi: dict[bytes, list[bytes]] | None
    ) -> None: ...
    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> bool:
        """Queue body bytes. True: the stream has just exceeded its limit of unsent bytes."""
    def send_trailers(
        self, stream_id: int, single: dict[bytes, bytes], multi: dict[bytes, list[bytes]] | None
    ) -> None: ...
    def reset(self, stream_id: int, code: int) -> None: ...
    def shutdown_notice(self) -> None:
        """GOAWAY with the largest stream id: new streams are still taken (RFC 9113 section 6.8)."""
    def goaway(self, code: int) -> None:
        """GOAWAY with the last stream that was taken."""
    def ping(self, data: bytes) -> None: ...
    def consume(self, stream_id: int, size: int) -> None:
        """Give the peer `size` bytes of window back, for the stream (if it is still there) and the connection."""
