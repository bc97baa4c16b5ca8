"""What the filter hands to others: the callbacks of its stream, and the headers of an immediate response."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.extensions.filters.http.ext_proc.closing import ClosingStream
from outrider.extensions.filters.http.ext_proc.messages import MutationRejected, apply_headers
from outrider.grpc.client import GrpcStreamCallbacks
from outrider.http.filter import LocalReplyModifier

if TYPE_CHECKING:
    from outrider.extensions.filters.http.ext_proc.filter import ExtProcFilter
    from outrider.extensions.filters.http.ext_proc.settings import ExtProcSettings

_log: Final = logging.getLogger("outrider.ext_proc")


class ProcessorCallbacks(GrpcStreamCallbacks):
    """Of the stream to the processor; knows the filter until it is destroyed."""

    def __init__(self, owner: ExtProcFilter, extra: list[tuple[bytes, bytes]]) -> None:
        self.filter: ExtProcFilter | None = owner
        self.extra = extra
        self.closing: ClosingStream | None = None
        # The other side has said something, so an end is its own.
        self.heard = False

    def on_initial_metadata(self, headers: HeaderMap) -> None:
        self.heard = True

    def on_trailing_metadata(self, trailers: HeaderMap) -> None:
        self.heard = self.heard or len(trailers.names()) > 0

    def on_create_initial_metadata(self, headers: RequestHeaderMap) -> None:
        for name, value in self.extra:
            headers.set(name, value)

    def on_message(self, message: bytes) -> None:
        if self.filter is not None:
            self.filter.on_bytes(message)

    def on_remote_close(self, status: int, message: str) -> None:
        if self.closing is not None:
            self.closing.over()
        if self.filter is not None:
            self.filter.on_remote_close(status, f"{message}{{via_upstream}}" if self.heard else message)


class ImmediateHeaders(LocalReplyModifier):
    def __init__(self, mutation: Any, settings: ExtProcSettings) -> None:
        self.mutation = mutation
        self.settings = settings

    def modify(self, headers: ResponseHeaderMap) -> None:
        rejected = self.settings.stats.rejected_header_mutations
        try:
            apply_headers(self.mutation, headers, False, self.settings.rules, rejected)
        except MutationRejected as error:
            _log.error("Immediate response mutations failed with %s", error)
