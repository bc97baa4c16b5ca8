"""HTTP/1 parser over llhttp. `http1_fallback` has the same interface.

A handler is any object with the methods of `RequestHandler` or `ResponseHandler`; they are called from within `feed`,
never from within llhttp. A handler may raise: the parser is then of no more use.
"""

from typing import Final, Protocol

class RequestHandler(Protocol):
    """Takes what a parser of mode REQUEST finds."""

    def on_request_head(
        self,
        method: bytes,
        target: bytes,
        host: bytes | None,
        version: int,
        flags: int,
        content_length: int,
        single: dict[bytes, bytes],
        multi: dict[bytes, list[bytes]] | None,
        case: dict[bytes, bytes] | None,
        size: int,
    ) -> None:
        """A request's header block.

        `host` is the Host field, which is not in `single`, nor is Transfer-Encoding. `version` is major * 10 + minor
        (9 for a line without version). `flags` are `parse_error.FLAG_*`; with FLAG_END nothing else comes of this
        message, unless `take_over` is called. `content_length` is -1 when there is none. `single` and `multi` are as in
        `HeaderMap`, names lower-case, values without surrounding white space. `size` is the length in bytes.
        """

    def on_body(self, data: bytes, end: bool) -> None:
        """Body bytes of one feed, all chunks in one; with `end` the message is complete (then `data` may be empty)."""

    def on_trailers(
        self,
        single: dict[bytes, bytes],
        multi: dict[bytes, list[bytes]] | None,
        case: dict[bytes, bytes] | None,
    ) -> None:
        """The message ended with these trailers."""

class ResponseHandler(Protocol):
    """Takes what a parser of mode RESPONSE finds."""

    def on_response_head(
        self,
        status: int,
        reason: bytes | None,
        version: int,
        flags: int,
        content_length: int,
        single: dict[bytes, bytes],
        multi: dict[bytes, list[bytes]] | None,
        case: dict[bytes, bytes] | None,
        size: int,
    ) -> None:
        """A response's header block, see `RequestHandler.on_request_head`. `reason` only with `keep_reason`.

        After an informational response (below 200, not 101) the next head follows within the same `feed`.
        """

    def on_body(self, data: bytes, end: bool) -> None:
        """As for a request."""

    def on_trailers(
        self,
        single: dict[bytes, bytes],
        multi: dict[bytes, list[bytes]] | None,
        case: dict[bytes, bytes] | None,
    ) -> None:
        """As for a request."""

class Http1Parser:
    """Parser of one direction of a connection. Strict: no leniency of llhttp that concerns framing is on.

    `max_head_bytes` limits a whole header block, start line included, and the trailers likewise; `max_fields` the
    number of fields in either; `max_chunk_extension` the bytes of one chunk's extensions. `underscores` is one of
    `parse_error.UNDERSCORE_*`. `allow_chunked_length` lets Transfer-Encoding win over Content-Length instead of
    refusing both. `custom_methods` takes any token as a method.
    """

    # Fields left out because of UNDERSCORE_DROP (or met with UNDERSCORE_REJECT), since the beginning.
    dropped: Final[int]
    # A head has begun and is not complete.
    started: Final[bool]
    # Between messages.
    idle: Final[bool]

    def __init__(
        self,
        mode: int,
        max_head_bytes: int,
        max_fields: int,
        *,
        underscores: int = 0,
        keep_case: bool = False,
        keep_reason: bool = False,
        allow_chunked_length: bool = False,
        custom_methods: bool = False,
        max_chunk_extension: int = 65536,
    ) -> None: ...
    def feed(self, handler: RequestHandler | ResponseHandler, data: bytes, start: int = 0) -> int:
        """Parse `data` from `start`; returns up to where, which is before the end only after a complete message.

        The caller feeds the rest when it wants the next message. Raises ParseError; nothing may be fed afterwards.
        """

    def finish(self, handler: RequestHandler | ResponseHandler) -> None:
        """The peer has ended. Completes a response body that runs until then; raises ParseError within a message."""

    def expect_no_body(self, skip: bool) -> None:
        """The coming responses have no body whatever they say: they answer HEAD (until called with False)."""

    def take_over(self) -> None:
        """To be called while a head is handled: what follows is not HTTP, `feed` returns at the end of the head."""

    def stop(self) -> None:
        """To be called by a handler: `feed` returns at once and the parser is of no more use."""

def intern_name(name: bytes) -> None:
    """Make `name` the object under which fields of that (lower-case) name are stored: look-ups by it are quicker."""
