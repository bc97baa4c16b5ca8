"""Answers that the proxy makes itself: the configured changes to their code, body, format and headers.

Source: Envoy documentation, "Local reply modification".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.access_log.context import FormatContext
from outrider.access_log.format_string import FormatString, data_source_text, parse_format_string
from outrider.data.grpc_status import from_http_status
from outrider.data.header_map import ResponseHeaderMap
from outrider.data.header_names import CONTENT_LENGTH, CONTENT_TYPE, GRPC_MESSAGE, GRPC_STATUS
from outrider.http.grpc_status import encode_grpc_message
from outrider.http.header_mutation import HeaderParser

if TYPE_CHECKING:
    from outrider.access_log.access_log import LogFilter
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_TEXT: Final = b"text/plain"
_JSON: Final = b"application/json"
_GRPC: Final = b"application/grpc"


class ResponseMapper:
    """One entry of `mappers`: changes the replies that its filter picks."""

    __slots__ = ("filter", "status_code", "body", "body_format", "headers")

    def __init__(
        self,
        log_filter: LogFilter,
        status_code: int,
        body: bytes | None,
        body_format: FormatString | None,
        headers: HeaderParser,
    ) -> None:
        self.filter = log_filter
        # 0: unchanged.
        self.status_code = status_code
        self.body = body
        self.body_format = body_format
        self.headers = headers


class LocalReplyConfig:
    """`LocalReplyConfig` of a connection manager."""

    __slots__ = ("mappers", "body_format", "content_type")

    def __init__(self, mappers: list[ResponseMapper], body_format: FormatString | None) -> None:
        self.mappers = mappers
        self.body_format = body_format
        # Content type of the body that `rewrite` returned last.
        self.content_type: bytes = _TEXT

    @classmethod
    def from_view(cls, view: View | None, context: FactoryContext) -> LocalReplyConfig:
        """Replies stay as they are where `view` is None. Raises ConfigError."""
        if view is None:
            return cls([], None)
        mappers = [_parse_mapper(mapper, context) for mapper in view.messages("mappers")]
        body_format = view.message("body_format")
        return cls(mappers, None if body_format is None else parse_format_string(body_format, context))

    def rewrite(self, context: FormatContext, headers: ResponseHeaderMap, body: bytes) -> bytes:
        """The body to send. Sets the code in `headers` and in the stream info, and `content_type` of this object.

        `headers.status` is the code that the reply was to have.
        """
        info = context.stream_info
        info.response_code = headers.status
        body_format: FormatString | None = None
        for mapper in self.mappers:
            # The body is for the format only; header values do not see it.
            context.local_reply_body = b""
            if mapper.filter.evaluate(context):
                if mapper.body is not None:
                    body = mapper.body
                mapper.headers.evaluate_headers(headers, context)
                if mapper.status_code:
                    headers.status = mapper.status_code
                    info.response_code = mapper.status_code
                body_format = mapper.body_format
                break
        if body_format is None:
            body_format = self.body_format
        context.local_reply_body = body
        if body_format is None:
            self.content_type = _TEXT
            return body
        self.content_type = body_format.content_type
        return body_format.formatter.format_bytes(context)

    def apply(self, context: FormatContext, headers: ResponseHeaderMap, body: bytes) -> bytes:
        """`rewrite`, then content-type and content-length as they have to be. Returns the body to send."""
        type_before = headers.get(CONTENT_TYPE)
        rewritten = self.rewrite(context, headers, body)
        if not rewritten:
            headers.remove(CONTENT_LENGTH)
            headers.remove(CONTENT_TYPE)
            return rewritten
        headers.set(CONTENT_LENGTH, b"%d" % len(rewritten))
        type_now = headers.get(CONTENT_TYPE)
        # A type that a mapper set stays; one that was there before fits only the body that was there before.
        if type_now == type_before and (type_now is None or rewritten != body):
            headers.set(CONTENT_TYPE, self.content_type)
        return rewritten

    def apply_grpc(
        self, context: FormatContext, headers: ResponseHeaderMap, body: bytes, grpc_status: int, is_head: bool
    ) -> None:
        """`rewrite` for a gRPC client: a response without body, whose fields tell status and message.

        `grpc_status` below 0 means that the (rewritten) code decides.
        """
        rewritten = self.rewrite(context, headers, body)
        code = headers.status
        headers.status = 200
        headers.set(CONTENT_TYPE, _GRPC)
        if not headers.get(GRPC_STATUS):
            status = grpc_status if grpc_status >= 0 else from_http_status(code)
            headers.set(GRPC_STATUS, b"%d" % status)
        if rewritten and not is_head:
            if self.content_type == _JSON and rewritten[-1:] == b"\n":
                rewritten = rewritten[:-1]
            headers.set(GRPC_MESSAGE, encode_grpc_message(rewritten))
        headers.remove(CONTENT_LENGTH)


def _parse_mapper(view: View, context: FactoryContext) -> ResponseMapper:
    # Read here: the log filters are of no use to replies that no one rewrites.
    from outrider.access_log.filters import parse_log_filter

    log_filter = view.message("filter")
    if log_filter is None:
        raise view.error("value is required", "filter")
    body = view.message("body")
    body_format = view.message("body_format_override")
    return ResponseMapper(
        parse_log_filter(log_filter, context),
        view.integer("status_code"),
        None if body is None else data_source_text(body).encode("utf-8", "surrogateescape"),
        None if body_format is None else parse_format_string(body_format, context),
        HeaderParser.from_views(view.messages("headers_to_add")),
    )
