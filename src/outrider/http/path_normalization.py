"""Path normalisation of the connection manager: `normalize_path`, `merge_slashes`, `path_with_escaped_slashes_action`.

Source: Envoy documentation, "HTTP connection manager: path normalization"; RFC 3986 sections 5.2.4 and 6. What is
unescaped and what is escaped follows the behaviour of Envoy 1.40 (URL canonicalisation of the path component).
"""

from __future__ import annotations

from typing import Final

# path_with_escaped_slashes_action
KEEP_UNCHANGED: Final = 0
REJECT_REQUEST: Final = 1
UNESCAPE_AND_REDIRECT: Final = 2
UNESCAPE_AND_FORWARD: Final = 3

_HEX: Final = b"0123456789abcdefABCDEF"
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_KEPT: Final = _UNRESERVED | frozenset(b"!$&'()*+,;=:@/%[]")


def split_query(path: bytes) -> tuple[bytes, bytes]:
    """The path and the rest (from `?` or `#` on)."""
    cut = len(path)
    query = path.find(b"?")
    if query >= 0:
        cut = query
    fragment = path.find(b"#", 0, cut)
    if fragment >= 0:
        cut = fragment
    return path[:cut], path[cut:]


def normalize_path(path: bytes) -> bytes | None:
    """Resolve dot segments and canonicalise escapes, the query untouched; None for a path that has no normal form."""
    only_path, rest = split_query(path)
    canonical = _canonical_escapes(only_path)
    if canonical is None or not canonical.startswith(b"/"):
        return None
    return _remove_dots(canonical) + rest


def _canonical_escapes(path: bytes) -> bytes | None:
    """Backslash becomes slash, escaped unreserved bytes are decoded, what must be escaped is."""
    if b"%" not in path and _KEPT.issuperset(path):
        return path
    out = bytearray()
    index = 0
    count = len(path)
    while index < count:
        byte = path[index]
        if byte == 0x5C:
            out.append(0x2F)
        elif byte == 0x25:
            if index + 2 < count and path[index + 1] in _HEX and path[index + 2] in _HEX:
                value = int(path[index + 1 : index + 3], 16)
                if value == 0:
                    return None
                if value in _UNRESERVED:
                    out.append(value)
                else:
                    out += path[index : index + 3]
                index += 2
            else:
                out.append(byte)
        elif byte in _KEPT:
            out.append(byte)
        elif byte == 0:
            return None
        else:
            out += b"%%%02X" % byte
        index += 1
    return bytes(out)


def _remove_dots(path: bytes) -> bytes:
    """RFC 3986 section 5.2.4. A last segment of dots leaves its slash. `..;x` counts as dots too, as Envoy has it."""
    if b"/." not in path:
        return path
    segments = path.split(b"/")[1:]
    kept: list[bytes] = []
    last = len(segments) - 1
    for index, segment in enumerate(segments):
        name = segment.split(b";", 1)[0] if segment[:1] == b"." else segment
        if name == b".":
            if index == last:
                kept.append(b"")
        elif name == b"..":
            if kept:
                kept.pop()
            if index == last:
                kept.append(b"")
        else:
            kept.append(segment)
    return b"/" + b"/".join(kept)


def merge_slashes(path: bytes) -> bytes:
    """Runs of slashes in the path become one."""
    if b"//" not in path:
        return path
    only_path, rest = split_query(path)
    # A request for nothing but slashes stays as it is short of a name: "//" -> "/".
    while b"//" in only_path:
        only_path = only_path.replace(b"//", b"/")
    return only_path + rest


def unescape_slashes(path: bytes) -> bytes:
    """%2F and %5C in the path become `/` and `\\`."""
    only_path, rest = split_query(path)
    if b"%" not in only_path:
        return path
    for escaped, plain in ((b"%2F", b"/"), (b"%2f", b"/"), (b"%5C", b"\\"), (b"%5c", b"\\")):
        only_path = only_path.replace(escaped, plain)
    return only_path + rest
