"""A message that is held back: how it goes on, and the chunks of it that the processor looks at."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from outrider.event.timer import TimerOwner

if TYPE_CHECKING:
    from outrider.extensions.filters.http.ext_proc.filter import ExtProcFilter


class HeldMessage(TimerOwner):
    """The part of a direction that deals with the filter manager."""

    def __init__(self, owner: ExtProcFilter, encoding: bool) -> None:
        self.filter = owner
        self.encoding = encoding
        # The message is held until `resume`.
        self.paused = False
        # Chunks that the processor has been told of, or will be: (bytes, last one).
        self.queue: deque[tuple[bytes, bool]] = deque()
        self.queued = 0
        self.watermark = False

    # --- the filter manager ---

    def buffered(self) -> bytes | None:
        manager = self.filter.manager
        return manager.encoding_buffer() if self.encoding else manager.decoding_buffer()

    def set_buffered(self, data: bytes) -> None:
        manager = self.filter.manager
        if self.encoding:
            manager.modify_encoding_buffer(data)
        else:
            manager.modify_decoding_buffer(data)

    def add_buffered(self, data: bytes) -> None:
        manager = self.filter.manager
        if self.encoding:
            manager.add_encoded_data(self.filter, data, False)
        else:
            manager.add_decoded_data(self.filter, data, False)

    def inject(self, data: bytes, end: bool) -> None:
        if end:
            # The whole message has gone on with this.
            self.paused = False
        manager = self.filter.manager
        if self.encoding:
            manager.inject_encoded_data(self.filter, data, end)
        else:
            manager.inject_decoded_data(self.filter, data, end)

    def resume(self) -> None:
        if not self.paused:
            return
        self.paused = False
        if self.encoding:
            self.filter.continue_encoding()
        else:
            self.filter.continue_decoding()

    def raise_watermark(self) -> None:
        if self.watermark:
            return
        self.watermark = True
        manager = self.filter.manager
        if self.encoding:
            manager.on_encoder_filter_above_write_buffer_high_watermark()
        else:
            manager.on_decoder_filter_above_write_buffer_high_watermark()

    def lower_watermark(self) -> None:
        if not self.watermark:
            return
        self.watermark = False
        manager = self.filter.manager
        if self.encoding:
            manager.on_encoder_filter_below_write_buffer_low_watermark()
        else:
            manager.on_decoder_filter_below_write_buffer_low_watermark()

    # --- the queue of chunks ---

    def enqueue(self, data: bytes, end: bool) -> None:
        self.queue.append((data, end))
        self.queued += len(data)
        if self.over_limit():
            self.raise_watermark()

    def dequeue(self) -> tuple[bytes, bool]:
        data, end = self.queue.popleft()
        self.queued -= len(data)
        return data, end

    def consolidate(self) -> tuple[bytes, bool]:
        """All chunks as one; it stays in the queue."""
        if len(self.queue) > 1:
            end = self.queue[-1][1]
            whole = b"".join(data for data, _ in self.queue)
            self.queue.clear()
            self.queue.append((whole, end))
        return self.queue[0] if self.queue else (b"", False)

    def over_limit(self) -> bool:
        limit = self.filter.manager.buffer_limit
        return limit > 0 and self.queued > limit
