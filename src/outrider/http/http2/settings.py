"""Http2ProtocolOptions as a plain object. Source: `envoy.config.core.v3.Http2ProtocolOptions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.native import load_http2
from outrider.native.http2_error import (
    SETTINGS_ENABLE_CONNECT_PROTOCOL,
    SETTINGS_ENABLE_PUSH,
    SETTINGS_HEADER_TABLE_SIZE,
    SETTINGS_INITIAL_WINDOW_SIZE,
    SETTINGS_MAX_CONCURRENT_STREAMS,
)

if TYPE_CHECKING:
    from outrider.config.view import View

MAX_STREAMS: Final = 0x7FFFFFFF
_NAMED: Final = {
    SETTINGS_HEADER_TABLE_SIZE: "hpack_table_size",
    SETTINGS_MAX_CONCURRENT_STREAMS: "max_concurrent_streams",
    SETTINGS_INITIAL_WINDOW_SIZE: "initial_stream_window_size",
}


class Http2Settings:
    """Options of the HTTP/2 codecs of one listener or cluster. Times are milliseconds, 0 = off."""

    __slots__ = (
        "allow_connect",
        "custom",
        "hpack_table_size",
        "initial_connection_window_size",
        "initial_stream_window_size",
        "keepalive_idle_ms",
        "keepalive_interval_ms",
        "keepalive_jitter",
        "keepalive_timeout_ms",
        "max_concurrent_streams",
        "max_empty_frames",
        "max_outbound_control_frames",
        "max_outbound_frames",
        "max_priority_frames",
        "max_window_updates",
        "reset_burst",
        "reset_rate",
        "stream_error",
    )

    def __init__(self) -> None:
        self.hpack_table_size: int = 4096
        self.max_concurrent_streams: int = 1024
        self.initial_stream_window_size: int = 16 * 1024 * 1024
        self.initial_connection_window_size: int = 24 * 1024 * 1024
        self.allow_connect: bool = False
        self.max_outbound_frames: int = 10000
        self.max_outbound_control_frames: int = 1000
        self.max_empty_frames: int = 1
        self.max_priority_frames: int = 100
        self.max_window_updates: int = 10
        # An invalid message costs the stream only.
        self.stream_error: bool = False
        self.custom: list[tuple[int, int]] = []
        self.keepalive_interval_ms: int = 0
        self.keepalive_timeout_ms: int = 0
        # In per cent of the interval.
        self.keepalive_jitter: float = 15.0
        self.keepalive_idle_ms: int = 0
        self.reset_burst: int = 0
        self.reset_rate: int = 0

    @staticmethod
    def from_view(view: View | None, stream_error: bool | None = None) -> Http2Settings:
        """From `Http2ProtocolOptions`, or the defaults for None. Raises ConfigError, also where HTTP/2 is not built.

        `stream_error` is the connection manager's `stream_error_on_invalid_http_message`, which the options override;
        None = not set.
        """
        settings = Http2Settings()
        settings.stream_error = stream_error is True
        if view is None:
            return settings
        if not load_http2.AVAILABLE:
            raise view.error("HTTP/2 is not built into this installation (libnghttp2 was missing)")
        settings.hpack_table_size = view.integer("hpack_table_size", settings.hpack_table_size)
        settings.max_concurrent_streams = view.integer("max_concurrent_streams", settings.max_concurrent_streams)
        settings.initial_stream_window_size = view.integer(
            "initial_stream_window_size", settings.initial_stream_window_size
        )
        settings.initial_connection_window_size = view.integer(
            "initial_connection_window_size", settings.initial_connection_window_size
        )
        settings.allow_connect = view.flag("allow_connect")
        settings.max_outbound_frames = view.integer("max_outbound_frames", settings.max_outbound_frames)
        settings.max_outbound_control_frames = view.integer(
            "max_outbound_control_frames", settings.max_outbound_control_frames
        )
        settings.max_empty_frames = view.integer(
            "max_consecutive_inbound_frames_with_empty_payload", settings.max_empty_frames
        )
        settings.max_priority_frames = view.integer(
            "max_inbound_priority_frames_per_stream", settings.max_priority_frames
        )
        settings.max_window_updates = view.integer(
            "max_inbound_window_update_frames_per_data_frame_sent", settings.max_window_updates
        )
        if view.has("override_stream_error_on_invalid_http_message"):
            settings.stream_error = view.flag("override_stream_error_on_invalid_http_message")
            view.accept("stream_error_on_invalid_http_messaging")
        else:
            older = view.flag("stream_error_on_invalid_http_messaging")
            settings.stream_error = older if stream_error is None else stream_error
        # nghttp2 is the only codec, as it is Envoy's default.
        if view.flag("use_oghttp2_codec"):
            raise view.error("oghttp2 is not supported by outrider, nghttp2 is its HTTP/2 codec", "use_oghttp2_codec")
        settings.reset_burst = view.integer("stream_reset_burst", 0)
        settings.reset_rate = view.integer("stream_reset_rate", 0)
        settings._read_custom(view)
        settings._read_keepalive(view.message("connection_keepalive"))
        return settings

    def _read_custom(self, view: View) -> None:
        seen: dict[int, int] = {}
        for each in view.messages("custom_settings_parameters"):
            identifier = each.integer("identifier")
            value = each.integer("value")
            if identifier == SETTINGS_ENABLE_PUSH:
                if value:
                    raise each.error(
                        "server push is not supported by Envoy and can not be enabled via a SETTINGS parameter."
                    )
                continue
            if identifier == SETTINGS_ENABLE_CONNECT_PROTOCOL:
                raise each.error(
                    'the "allow_connect" SETTINGS parameter must only be configured through the named field'
                )
            if identifier in _NAMED:
                if view.has(_NAMED[identifier]):
                    raise each.error(
                        f"the {{{_NAMED[identifier]}}} HTTP/2 SETTINGS parameter(s) can not be configured through both "
                        "named and custom parameters"
                    )
                if identifier == SETTINGS_HEADER_TABLE_SIZE:
                    self.hpack_table_size = value
                elif identifier == SETTINGS_MAX_CONCURRENT_STREAMS:
                    self.max_concurrent_streams = value
                else:
                    self.initial_stream_window_size = value
                continue
            if seen.get(identifier, value) != value:
                raise each.error(
                    f"inconsistent HTTP/2 custom SETTINGS parameter(s) detected; identifiers = {{0x{identifier:02x}}}"
                )
            seen[identifier] = value
        self.custom = list(seen.items())

    def _read_keepalive(self, view: View | None) -> None:
        if view is None:
            return
        self.keepalive_interval_ms = view.millis("interval") or 0
        self.keepalive_timeout_ms = view.millis("timeout") or 0
        if view.has("interval_jitter"):
            self.keepalive_jitter = view.number("interval_jitter")
        self.keepalive_idle_ms = view.millis("connection_idle_interval") or 0

    def entries(self, server: bool) -> list[tuple[int, int]]:
        """The first SETTINGS frame, in Envoy's order."""
        entries = list(self.custom)
        if not server:
            entries.append((SETTINGS_ENABLE_PUSH, 0))
        entries.append((SETTINGS_HEADER_TABLE_SIZE, self.hpack_table_size))
        if self.allow_connect:
            entries.append((SETTINGS_ENABLE_CONNECT_PROTOCOL, 1))
        entries.append((SETTINGS_MAX_CONCURRENT_STREAMS, self.max_concurrent_streams))
        entries.append((SETTINGS_INITIAL_WINDOW_SIZE, self.initial_stream_window_size))
        return entries
