"""Serialiser of HTTP/1 header blocks and chunks. `http1_writer_fallback` has the same interface."""

def encode_request(
    method: bytes,
    target: bytes,
    host: bytes,
    single: dict[bytes, bytes],
    multi: dict[bytes, list[bytes]] | None,
    extra_name: bytes | None,
    extra_value: bytes | None,
    case: dict[bytes, bytes] | None,
    proper: bool,
) -> bytes:
    """A request's header block, Host first, then the fields, then the extra one.

    A name is spelled as in `case`; one that is not there (or all, when `case` is None) is written in Proper-Case when
    `proper`. Raises ValueError for a part that would break the block.
    """

def encode_head(
    first_line: bytes,
    single: dict[bytes, bytes],
    multi: dict[bytes, list[bytes]] | None,
    extra_name: bytes | None,
    extra_value: bytes | None,
    case: dict[bytes, bytes] | None,
    proper: bool,
) -> bytes:
    """`first_line` (CRLF included, taken as it is), the fields, the extra field, an empty line."""

def encode_chunk(data: bytes, last: bool) -> bytes:
    """One chunk, nothing for empty data; with `last` the end of the body as well (RFC 9112 section 7.1)."""

def uuid_text(source: bytes, at: int) -> bytes:
    """The text of a version 4 UUID (RFC 9562) made of the 16 random bytes from `at` on. Raises IndexError."""
