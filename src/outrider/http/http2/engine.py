"""What both HTTP/2 codecs share: the session and its limits, flushing, faults.

Bytes are written once per dispatch, or at once outside of one. Source: Envoy's `Http2::ConnectionImpl` and
`ProtocolConstraints`.
"""

from __future__ import annotations

from typing import Final

from outrider.event.timer import Timer, TimerOwner
from outrider.http.codec import (
    RESET_CONNECT_ERROR,
    RESET_LOCAL_REFUSED_STREAM,
    RESET_PROTOCOL_ERROR,
    CodecProtocolError,
    FloodError,
)
from outrider.http.http2.keepalive import KeepAlive
from outrider.http.http2.settings import Http2Settings
from outrider.http.http2.stats import Http2Stats
from outrider.native.http2_error import (
    CONNECT_ERROR,
    ERROR_EMPTY_FRAMES,
    ERROR_FLOOD,
    ERROR_PRIORITY_FRAMES,
    ERROR_WINDOW_UPDATES,
    INTERNAL_ERROR,
    LIB_HTTP_HEADER,
    LIB_HTTP_MESSAGING,
    LIB_REFUSED_STREAM,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    Http2Error,
)
from outrider.native.load_http2 import Http2Session
from outrider.network.connection import STATE_OPEN, Connection
from outrider.network.filter import EVENT_CONNECTED, ConnectionCallbacks

# Whose fault a refused frame is: a stream too many, a malformed message, anything else.
FAULT_OF_NOBODY: Final = 0
FAULT_OF_STREAM: Final = 1
FAULT_OF_CONNECTION: Final = 2

# Frames that wait for the socket are looked at closely only when this many have been sent since it was last empty.
_FEW_FRAMES: Final = 200
_FLOODS: Final = (ERROR_EMPTY_FRAMES, ERROR_PRIORITY_FRAMES, ERROR_WINDOW_UPDATES, ERROR_FLOOD)


class Http2Engine(ConnectionCallbacks):
    """The session of one connection. `handler` is the codec (see native/http2.pyi)."""

    def __init__(
        self,
        connection: Connection,
        handler: object,
        server: bool,
        settings: Http2Settings,
        stats: Http2Stats,
        max_headers_kb: int,
        max_headers_count: int,
        underscores: int,
    ) -> None:
        self.connection = connection
        self.settings = settings
        self.stats = stats
        self.session = Http2Session(
            handler,
            server,
            max_header_list=max_headers_kb * 1024,
            max_headers=max_headers_count,
            underscores=underscores,
            # As in Envoy, a stream buffers as much as its window.
            send_limit=settings.initial_stream_window_size,
            hpack_table_size=settings.hpack_table_size,
            max_empty_frames=settings.max_empty_frames,
            max_priority_frames=settings.max_priority_frames,
            max_window_updates=settings.max_window_updates,
            reset_burst=settings.reset_burst,
            reset_rate=settings.reset_rate,
        )
        self.dispatching: bool = False
        # Ids of streams to be reset once what was queued for them has been sent.
        self.resets: dict[int, int] = {}
        self.flood: CodecProtocolError | None = None
        # GOAWAYs of our own will; what the library sends beyond them says that the peer broke the protocol.
        self.goaways: int = 0
        # The peer has sent GOAWAY: the library then wants nothing more when the last stream has ended.
        self.peer_leaves: bool = False
        # Streams that the session knows.
        self._active: int = 0
        self._resets: int = 0
        self._dropped: int = 0
        # What the gauges of waiting bytes and frames hold of this connection.
        self._pending: int = 0
        self._waiting_frames: int = 0
        self._waiting_control: int = 0
        # Frames sent when the socket was last seen empty, and (bytes, frames, control frames) since.
        self._frames_base: int = 0
        self._control_base: int = 0
        self._marks: list[tuple[int, int, int]] = []
        self._frame_check: int = min(_FEW_FRAMES, settings.max_outbound_frames, settings.max_outbound_control_frames)
        # Of complete responses that wait for the peer's window.
        self._flush_timers: dict[int, Timer] = {}
        self.keepalive: KeepAlive | None = None
        stats.nghttp2_connections.inc()
        connection.add_callbacks(self)
        self.session.submit_settings(settings.entries(server))
        self.session.set_connection_window(settings.initial_connection_window_size)
        if settings.keepalive_timeout_ms > 0:
            self.keepalive = KeepAlive(self)

    # --- bytes ---

    def feed(self, data: bytes) -> None:
        """Raises CodecProtocolError when the connection must be closed."""
        if self.keepalive is not None:
            self.keepalive.on_received()
        self.dispatching = True
        try:
            self.session.feed(data)
        except Http2Error as error:
            raise self._error(error) from error
        finally:
            self.dispatching = False

    def _error(self, error: Http2Error) -> CodecProtocolError:
        kind = error.kind
        stats = self.stats
        if kind == ERROR_EMPTY_FRAMES:
            stats.inbound_empty_frames_flood.inc()
        elif kind == ERROR_PRIORITY_FRAMES:
            stats.inbound_priority_frames_flood.inc()
        elif kind == ERROR_WINDOW_UPDATES:
            stats.inbound_window_update_frames_flood.inc()
        text = str(error)
        details = "codec_error:" + text.replace(" ", "_")
        if kind in _FLOODS:
            return FloodError(text, details, error.stream_id)
        return CodecProtocolError(text, details)

    def ended_by_library(self) -> bool:
        """Whether the library has found an error by itself, and ended the session."""
        session = self.session
        if session.goaways_sent > self.goaways:
            return True
        return not self.peer_leaves and not session.wants_read and not session.wants_write

    def flush(self) -> list[int]:
        """Write what is to be written, unless bytes are being dispatched: then the end of that will do it.

        Returns ids of streams that take bytes again. A flood of our own frames is left in `flood`.
        """
        if self.dispatching:
            return []
        session = self.session
        connection = self.connection
        if connection.state != STATE_OPEN:
            return []
        # Closed streams are told of while draining.
        self.dispatching = True
        try:
            data = session.drain()
            if data:
                connection.write(data)
            if self.resets:
                for stream_id, code in self.resets.items():
                    session.reset(stream_id, code)
                self.resets = {}
                data = session.drain()
                if data:
                    connection.write(data)
        except Http2Error as error:
            self.flood = CodecProtocolError(str(error), "codec_error:" + str(error).replace(" ", "_"))
            return []
        finally:
            self.dispatching = False
        sent = session.resets_sent
        if sent != self._resets:
            self.stats.tx_reset.add(sent - self._resets)
            self._resets = sent
        pending = session.pending_bytes
        if pending != self._pending:
            self.stats.pending_send_bytes.add(pending - self._pending)
            self._pending = pending
        if session.frames_sent - self._frames_base > self._frame_check:
            self._check_floods()
        return session.take_lows()

    def _note_waiting(self, frames: int, control: int) -> None:
        """Frames that the socket has not taken; known only where there are many."""
        if frames != self._waiting_frames or control != self._waiting_control:
            stats = self.stats
            stats.outbound_frames_active.add(frames - self._waiting_frames)
            stats.outbound_control_frames_active.add(control - self._waiting_control)
            self._waiting_frames = frames
            self._waiting_control = control

    def _check_floods(self) -> None:
        """Envoy's limits on frames that wait to be taken by the peer."""
        connection = self.connection
        session = self.session
        frames = session.frames_sent
        control = session.control_frames_sent
        waiting = connection.waiting_bytes()
        if waiting == 0:
            self._frames_base = frames
            self._control_base = control
            self._marks = []
            self._note_waiting(0, 0)
            return
        marks = self._marks
        flushed = connection.bytes_sent - waiting
        done = 0
        for size, mark_frames, mark_control in marks:
            if size > flushed:
                break
            self._frames_base = mark_frames
            self._control_base = mark_control
            done += 1
        if done:
            del marks[:done]
        marks.append((connection.bytes_sent, frames, control))
        self._note_waiting(frames - self._frames_base, control - self._control_base)
        settings = self.settings
        if control - self._control_base > settings.max_outbound_control_frames:
            self.stats.outbound_control_flood.inc()
            self.flood = FloodError(
                "Too many control frames in the outbound queue.",
                "codec_error:Too_many_control_frames_in_the_outbound_queue.",
            )
        elif frames - self._frames_base > settings.max_outbound_frames:
            self.stats.outbound_flood.inc()
            self.flood = FloodError(
                "Too many frames in the outbound queue.", "codec_error:Too_many_frames_in_the_outbound_queue."
            )

    def on_stream_opened(self) -> None:
        self._active += 1
        self.stats.streams_active.inc()
        if self.keepalive is not None:
            self.keepalive.probe()

    def on_stream_closed(self) -> None:
        if self._active > 0:
            self._active -= 1
            self.stats.streams_active.dec()

    def count_header_overflow(self, too_many: bool) -> None:
        """A header block has too many fields, or is too large."""
        if too_many:
            self.stats.header_overflow.inc()
        else:
            self.stats.header_list_size_too_large.inc()

    def judge(self, code: int) -> int:
        """What a frame that the library refused (`http2_error.LIB_*`) costs: FAULT_*."""
        if code == LIB_REFUSED_STREAM:
            self.stats.stream_refused_errors.inc()
            return FAULT_OF_NOBODY
        if code == LIB_HTTP_HEADER or code == LIB_HTTP_MESSAGING:
            self.stats.rx_messaging_error.inc()
            if self.settings.stream_error:
                return FAULT_OF_STREAM
        return FAULT_OF_CONNECTION

    def count_dropped(self) -> None:
        dropped = self.session.dropped
        if dropped != self._dropped:
            self.stats.dropped_headers_with_underscores.add(dropped - self._dropped)
            self._dropped = dropped

    def reset(self, stream_id: int, reason: int, local_complete: bool) -> None:
        """RST_STREAM, behind what is queued for the stream when the message is complete."""
        code = NO_ERROR if local_complete else reset_code(reason)
        if local_complete:
            self.resets[stream_id] = code
        else:
            self.session.reset(stream_id, code)

    # --- responses that nobody takes ---

    def watch_flush(self, stream_id: int, owner: TimerOwner, milliseconds: int) -> None:
        """Have `owner` told when the stream is still there after that time."""
        timer = self.connection.dispatcher.timer(owner, 0)
        timer.arm(milliseconds)
        self._flush_timers[stream_id] = timer

    def unwatch_flush(self, stream_id: int) -> None:
        if self._flush_timers:
            timer = self._flush_timers.pop(stream_id, None)
            if timer is not None:
                timer.disarm()

    def on_ping_ack(self) -> None:
        if self.keepalive is not None:
            self.keepalive.on_ack()

    def on_event(self, event: int) -> None:
        if event == EVENT_CONNECTED:
            return
        self.stats.streams_active.sub(self._active)
        self._active = 0
        self.stats.pending_send_bytes.sub(self._pending)
        self._pending = 0
        self._note_waiting(0, 0)
        for flushing in self._flush_timers.values():
            flushing.disarm()
        self._flush_timers = {}
        if self.keepalive is not None:
            self.keepalive.stop()
            self.keepalive = None


def reset_code(reason: int) -> int:
    """The error code that tells the peer of a reset."""
    if reason == RESET_LOCAL_REFUSED_STREAM:
        return REFUSED_STREAM
    if reason == RESET_CONNECT_ERROR:
        return CONNECT_ERROR
    if reason == RESET_PROTOCOL_ERROR:
        return PROTOCOL_ERROR
    return INTERNAL_ERROR
