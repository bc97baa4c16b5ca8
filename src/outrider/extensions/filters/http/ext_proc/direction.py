"""One direction of a stream: what is held back, what the processor is told of it, and what its answers do.

Source: Envoy's `ProcessorState`; documentation "External Processing", processing modes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.data.header_map import HeaderMap
from outrider.data.header_names import CONTENT_LENGTH
from outrider.extensions.filters.http.ext_proc.held import HeldMessage
from outrider.extensions.filters.http.ext_proc.messages import (
    MutationRejected,
    apply_headers,
    changed_body,
    fill_headers,
)

if TYPE_CHECKING:
    from outrider.event.timer import Timer
    from outrider.extensions.filters.http.ext_proc.filter import ExtProcFilter
    from outrider.extensions.filters.http.ext_proc.settings import ProcessingMode

# Body modes (ProcessingMode.BodySendMode).
NONE: Final = "NONE"
STREAMED: Final = "STREAMED"
BUFFERED: Final = "BUFFERED"
BUFFERED_PARTIAL: Final = "BUFFERED_PARTIAL"
FULL_DUPLEX: Final = "FULL_DUPLEX_STREAMED"

# What is waited for.
IDLE: Final = 0
HEADERS: Final = 1
BUFFERED_BODY: Final = 2
STREAMED_BODY: Final = 3
PARTIAL_BODY: Final = 4
TRAILERS: Final = 5

_CONTINUE_AND_REPLACE: Final = 1


class Spurious(Exception):
    """An answer that nobody has asked for."""


class Direction(HeldMessage):
    """The request (`encoding` False) or the response."""

    def __init__(self, owner: ExtProcFilter, encoding: bool) -> None:
        super().__init__(owner, encoding)
        self.send_headers = True
        self.send_trailers = False
        self.body_mode = NONE
        self.waiting = IDLE
        # None once they have gone on.
        self.headers: HeaderMap | None = None
        self.trailers: HeaderMap | None = None
        self.trailers_came = False
        self.trailers_sent = False
        self.no_body = False
        self.body_complete = False
        self.body_came = False
        self.body_replaced = False
        self.partial_done = False
        self.attributes_sent = False
        self.extended = False
        self.timer: Timer | None = None

    def set_mode(self, mode: ProcessingMode) -> None:
        if self.encoding:
            self.send_headers = mode.response_headers != "SKIP"
            self.send_trailers = mode.response_trailers == "SEND"
            self.body_mode = mode.response_body
        else:
            self.send_headers = mode.request_headers != "SKIP"
            self.send_trailers = mode.request_trailers == "SEND"
            self.body_mode = mode.request_body

    def nothing_to_process(self) -> bool:
        return not self.send_headers and not self.send_trailers and self.body_mode == NONE

    def loses_content_length(self) -> bool:
        """The length of the body is not known when the headers go on."""
        if self.filter.settings.allow_content_length and self.body_mode != BUFFERED:
            return False
        return self.body_mode in (STREAMED, FULL_DUPLEX, BUFFERED_PARTIAL) or (
            self.body_mode == BUFFERED and not self.send_headers
        )

    # --- asking ---

    def wait_for(self, what: int) -> None:
        """Expect an answer within the message timeout."""
        self.waiting = what
        timeout = self.filter.settings.message_timeout_ms
        if timeout <= 0:
            return
        if self.timer is None:
            self.timer = self.filter.manager.dispatcher.timer(self, 0)
        self.timer.disarm()
        self.timer.arm(timeout)

    def finish(self, then: int = IDLE) -> None:
        """The answer is there."""
        if self.timer is not None:
            self.timer.disarm()
        self.waiting = then
        self.extended = False

    def extend(self, timeout_ms: int) -> bool:
        """The processor asks for more time, once an answer."""
        if self.waiting == IDLE or self.extended or self.timer is None:
            return False
        self.extended = True
        self.timer.disarm()
        self.timer.arm(timeout_ms)
        return True

    def on_timer(self, kind: int) -> None:
        self.filter.on_message_timeout()

    def tell_headers(self, headers: HeaderMap, end: bool) -> None:
        settings = self.filter.settings
        request = self.filter.new_message(self)
        target = request.response_headers if self.encoding else request.request_headers
        fill_headers(target.headers, headers, settings.allowed, settings.disallowed)
        target.SetInParent()
        target.end_of_stream = end
        self.filter.send(request)

    def tell_body(self, data: bytes, end: bool, what: int) -> None:
        request = self.filter.new_message(self)
        target = request.response_body if self.encoding else request.request_body
        target.SetInParent()
        target.body = data
        target.end_of_stream = end
        if not self.filter.settings.observability:
            self.wait_for(what)
        self.filter.send(request)

    def tell_trailers(self, trailers: HeaderMap) -> None:
        if self.trailers_sent:
            return
        self.trailers_sent = True
        settings = self.filter.settings
        request = self.filter.new_message(self)
        target = request.response_trailers if self.encoding else request.request_trailers
        target.SetInParent()
        fill_headers(target.trailers, trailers, settings.allowed, settings.disallowed)
        if not settings.observability:
            self.wait_for(TRAILERS if self.waiting == IDLE else self.waiting)
        self.filter.send(request)

    # --- answers ---

    def on_headers_answer(self, answer: Any) -> None:
        """A `HeadersResponse`. Raises Spurious and MutationRejected."""
        if self.waiting != HEADERS or self.headers is None:
            raise Spurious("spurious message")
        common = answer.response
        replace = common.status == _CONTINUE_AND_REPLACE
        self._edit_headers(common, replace)
        self._clear_route_cache(common)
        self.finish(self._state_after_headers(replace))
        if replace:
            if common.HasField("body_mutation"):
                self.headers.remove(CONTENT_LENGTH)
                self.body_replaced = True
                body = changed_body(common.body_mutation, self.buffered() or b"")
                if self.buffered() is None:
                    self.add_buffered(body)
                else:
                    self.set_buffered(body)
            self.queue.clear()
            self.queued = 0
            # The processor wants nothing more of this message.
            self.body_mode = NONE
            self.send_trailers = False
        elif self._go_on_with_body():
            return
        elif self.send_trailers and self.trailers is not None:
            self.tell_trailers(self.trailers)
            self.lower_watermark()
            return
        self.headers = None
        self.resume()
        self.lower_watermark()

    def _state_after_headers(self, replace: bool) -> int:
        if replace:
            return IDLE
        if self.body_mode == STREAMED and self.filter.settings.early_body and self.queue:
            return STREAMED_BODY
        if self.body_mode == FULL_DUPLEX:
            if self.body_came:
                return STREAMED_BODY
            if self.trailers_came:
                return TRAILERS
        return IDLE

    def _go_on_with_body(self) -> bool:
        """After the headers: True when the message waits for more, or has been resumed already."""
        if self.no_body:
            return False
        mode = self.body_mode
        if self.body_complete and mode != NONE:
            if self.waiting == IDLE:
                data = self.buffered()
                if data is None:
                    return False
                self.tell_body(data, not self.trailers_came, BUFFERED_BODY)
                self.lower_watermark()
            else:
                self._send_held(not self.trailers_came)
            return True
        if mode == BUFFERED:
            # The headers wait, since they can change as long as the body is not there.
            self.lower_watermark()
            return True
        if mode == STREAMED:
            self._send_held(False)
            self.resume()
            return True
        if mode == FULL_DUPLEX:
            self.resume()
            return True
        if mode == BUFFERED_PARTIAL:
            data = self.buffered()
            if data:
                self.set_buffered(b"")
                self.enqueue(data, False)
            if self.over_limit():
                whole, _ = self.consolidate()
                self.tell_body(whole, False, PARTIAL_BODY)
            else:
                self.lower_watermark()
            return True
        return False

    def _send_held(self, end: bool) -> None:
        """Body that came while the headers were away goes the way of streamed chunks."""
        data = self.buffered()
        if data:
            self.set_buffered(b"")
            self.enqueue(data, end)
            self.tell_body(data, end, STREAMED_BODY)
        if not self.over_limit():
            self.lower_watermark()

    def on_body_answer(self, answer: Any) -> None:
        """A `BodyResponse`. Raises Spurious and MutationRejected."""
        common = answer.response
        state = self.waiting
        mutation = common.body_mutation if common.HasField("body_mutation") else None
        streamed = mutation is not None and mutation.WhichOneof("mutation") == "streamed_response"
        if state == BUFFERED_BODY:
            self._edit_headers(common, False)
            if mutation is not None:
                self._check_length(bytes(mutation.body))
                self.set_buffered(changed_body(mutation, self.buffered() or b""))
            self.lower_watermark()
            self.finish()
            proceed = True
        elif state == STREAMED_BODY:
            if streamed and self.body_mode != FULL_DUPLEX:
                raise Spurious(
                    "spurious message: streamed_response is received while body_mode_ is not FULL_DUPLEX_STREAMED"
                )
            if not streamed and self.body_mode == FULL_DUPLEX:
                raise Spurious(
                    "spurious message: Normal body mutation response is received while body_mode_ is "
                    "FULL_DUPLEX_STREAMED"
                )
            proceed = self._on_duplex_chunk(mutation) if streamed else self._on_streamed_chunk(mutation)
        elif state == PARTIAL_BODY:
            self._on_partial_body(common, mutation)
            proceed = True
        else:
            raise Spurious("spurious message")
        if self.filter.done:
            return
        self._clear_route_cache(common)
        self.headers = None
        if self.send_trailers and self.trailers is not None and not self.queue:
            self.tell_trailers(self.trailers)
        elif proceed or (self.trailers_came and not self.queue):
            self.resume()

    def _on_streamed_chunk(self, mutation: Any) -> bool:
        if not self.queue:
            raise Spurious("spurious message")
        data, end = self.dequeue()
        if mutation is not None:
            data = changed_body(mutation, data)
        self.finish(STREAMED_BODY if self.queue else IDLE)
        if data:
            self.inject(data, end)
        if not self.over_limit():
            self.lower_watermark()
        return end

    def _on_duplex_chunk(self, mutation: Any) -> bool:
        piece = mutation.streamed_response
        end = bool(piece.end_of_stream)
        self.finish(IDLE if end else STREAMED_BODY)
        if piece.body:
            self.inject(bytes(piece.body), end)
        return end

    def _on_partial_body(self, common: Any, mutation: Any) -> None:
        data, end = self.dequeue()
        self._edit_headers(common, False)
        if mutation is not None:
            data = changed_body(mutation, data)
        self.finish()
        self.partial_done = True
        if data:
            self.inject(data, end)
        if self.queue and not self.filter.done:
            rest, last = self.consolidate()
            self.queue.clear()
            self.queued = 0
            self.inject(rest, last)
        self.lower_watermark()

    def on_trailers_answer(self, answer: Any) -> None:
        """A `TrailersResponse`. Raises Spurious and MutationRejected."""
        if (self.waiting != TRAILERS and self.body_mode != FULL_DUPLEX) or self.trailers is None:
            raise Spurious("spurious message")
        if answer.HasField("header_mutation"):
            settings = self.filter.settings
            rejected = settings.stats.rejected_header_mutations
            apply_headers(answer.header_mutation, self.trailers, False, settings.rules, rejected)
        self.trailers = None
        self.finish()
        self.resume()

    def _edit_headers(self, common: Any, replacing: bool) -> None:
        if self.headers is None or not common.HasField("header_mutation"):
            return
        settings = self.filter.settings
        rejected = settings.stats.rejected_header_mutations
        apply_headers(
            common.header_mutation, self.headers, replacing, settings.rules, rejected, self.loses_content_length()
        )

    def _check_length(self, body: bytes) -> None:
        length = None if self.headers is None else self.headers.get(CONTENT_LENGTH)
        if length is not None and length.isdigit() and int(length) != len(body):
            raise MutationRejected("mismatch between content length and the length of the mutated body")

    def _clear_route_cache(self, common: Any) -> None:
        if self.encoding:
            return
        settings = self.filter.settings
        wanted = bool(common.clear_route_cache)
        if not common.HasField("header_mutation"):
            if wanted:
                settings.stats.clear_route_cache_ignored.inc()
        elif settings.route_cache == "CLEAR" or (settings.route_cache == "DEFAULT" and wanted):
            self.filter.manager.clear_route_cache()
        elif wanted:
            settings.stats.clear_route_cache_disabled.inc()

    # --- giving up ---

    def abandon(self) -> None:
        """The processor is out of it: what was held goes on as it is."""
        self.finish()
        if self.queue:
            data, end = self.consolidate()
            self.queue.clear()
            self.queued = 0
            if data or end:
                self.inject(data, end)
        self.lower_watermark()
        self.resume()
