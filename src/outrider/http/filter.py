"""HTTP filters: Envoy's StreamDecoderFilter and StreamEncoderFilter as one base class.

Source: Envoy documentation, "HTTP filters", and `envoy/http/filter.h` for the meaning of each status. Requests pass the
`decode_*` hooks in configured order, responses the `encode_*` hooks in reverse. A filter that must wait returns a STOP
status and later calls `continue_decoding()` or `continue_encoding()`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from mypy_extensions import mypyc_attr

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.event.timer import TimerOwner

if TYPE_CHECKING:
    from outrider.http.filter_manager import FilterManager

# FilterHeadersStatus
HEADERS_CONTINUE: Final = 0
HEADERS_STOP_ITERATION: Final = 1
HEADERS_CONTINUE_AND_DONT_END_STREAM: Final = 2
HEADERS_STOP_ALL_AND_BUFFER: Final = 3
HEADERS_STOP_ALL_AND_WATERMARK: Final = 4

# FilterDataStatus
DATA_CONTINUE: Final = 0
DATA_STOP_AND_BUFFER: Final = 1
DATA_STOP_AND_WATERMARK: Final = 2
DATA_STOP_NO_BUFFER: Final = 3

# FilterTrailersStatus
TRAILERS_CONTINUE: Final = 0
TRAILERS_STOP: Final = 1

# LocalErrorStatus
LOCAL_ERROR_CONTINUE: Final = 0
LOCAL_ERROR_CONTINUE_AND_RESET: Final = 1


@mypyc_attr(allow_interpreted_subclasses=True)
class HttpFilter(TimerOwner):
    """One filter of one stream. Hooks that a subclass does not override are never called. It may own timers."""

    # Set by the filter manager before the first hook. `manager` gives: stream_info, connection, dispatcher, route(),
    # request_headers, response_headers, decoding_buffer()/encoding_buffer(), send_local_reply(...), watermarks.
    manager: FilterManager
    # Name of the filter in the configuration: the key of its per-route configuration.
    config_name: str = ""
    # The filter manager's bookkeeping; nothing here is for the filter itself.
    decode_index: int = -1
    encode_index: int = -1
    decode_state: int = 0
    encode_state: int = 0
    decode_headers_passed: bool = False
    encode_headers_passed: bool = False
    decode_ended: bool = False
    encode_ended: bool = False

    def on_start(self) -> None:
        """The stream exists and `manager` is set; nothing has been decoded yet."""

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        return HEADERS_CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        return DATA_CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> int:
        return TRAILERS_CONTINUE

    def decode_complete(self) -> None:
        """The request has been decoded whole, this filter included."""

    def encode_1xx_headers(self, headers: ResponseHeaderMap) -> int:
        return HEADERS_CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        return HEADERS_CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        return DATA_CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> int:
        return TRAILERS_CONTINUE

    def encode_complete(self) -> None:
        """The response has been encoded whole, this filter included."""

    def on_local_reply(self, code: int, details: str) -> int:
        """A local reply is about to be sent (by any filter)."""
        return LOCAL_ERROR_CONTINUE

    def on_stream_complete(self) -> None:
        """Before the access log is written; every filter, in order."""

    def on_destroy(self) -> None:
        """The stream is over, normally or not: cancel what is under way, drop references."""

    def on_above_write_buffer_high_watermark(self) -> None:
        """Downstream takes no more for now (told to filters that produce a response)."""

    def on_below_write_buffer_low_watermark(self) -> None:
        """Downstream takes bytes again."""

    # What a filter may ask for.

    def continue_decoding(self) -> None:
        """Resume the request behind this filter, buffered body included."""
        self.manager.continue_decoding(self)

    def continue_encoding(self) -> None:
        """Resume the response behind this filter, buffered body included."""
        self.manager.continue_encoding(self)


@mypyc_attr(allow_interpreted_subclasses=True)
class LocalReplyModifier:
    """Edits the headers of a local reply before it is sent (`send_local_reply`)."""

    def modify(self, headers: ResponseHeaderMap) -> None:
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class HttpFilterFactory:
    """Makes the filters of one configured entry; built when configuration loads, so `create` cannot fail."""

    # Terminal filters (router) end the chain.
    is_terminal: ClassVar[bool] = False

    def create(self) -> HttpFilter:
        raise NotImplementedError
