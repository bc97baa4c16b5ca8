"""Regular expressions by RE2, Envoy's engine: linear time, byte strings, whole-value matches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

# The wrapper class of the package costs more than the match; its binding takes and gives plain values.
from re2 import _re2

if TYPE_CHECKING:
    from outrider.config.view import View

_BOTH: Final = _re2.RE2.Anchor.ANCHOR_BOTH
_UNANCHORED: Final = _re2.RE2.Anchor.UNANCHORED


class RegexError(ValueError):
    """A pattern that RE2 refuses; `str()` is its message."""


class Regex:
    """One compiled pattern for whole-value matches."""

    __slots__ = ("text", "prefix", "_match")

    def __init__(self, text: str) -> None:
        """Raises RegexError."""
        self.text = text
        # What every match begins with, as far as known.
        self.prefix: bytes = literal_prefix(text).encode("utf-8", "surrogateescape")
        self._match = _compile(text, False).Match

    def full_match(self, value: bytes) -> bool:
        return self._match(_BOTH, value, 0, len(value))[0][0] == 0  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"Regex({self.text!r})"


class RegexRewrite:
    """`RegexMatchAndSubstitute`: every match is replaced; `\\1` stands for a group, `\\0` for the whole match."""

    __slots__ = ("text", "substitution", "_match", "_pieces", "_valid")

    def __init__(self, text: str, substitution: str) -> None:
        """Raises RegexError. A substitution with a group that the pattern lacks replaces nothing, as in Envoy."""
        self.text = text
        self.substitution = substitution
        compiled = _compile(text, True)
        self._match = compiled.Match
        self._pieces: list[bytes] = []
        # For every piece the number of the group that follows it, -1 for none.
        groups = self._parse(substitution.encode("utf-8", "surrogateescape"))
        self._valid: list[int] | None = groups if max(groups) <= compiled.NumberOfCapturingGroups() else None

    def _parse(self, text: bytes) -> list[int]:
        pieces = self._pieces
        groups: list[int] = []
        literal = bytearray()
        position = 0
        while position < len(text):
            byte = text[position]
            if byte != 92:  # backslash
                literal.append(byte)
                position += 1
                continue
            follower = text[position + 1] if position + 1 < len(text) else 0
            if 48 <= follower <= 57:
                pieces.append(bytes(literal))
                groups.append(follower - 48)
                literal = bytearray()
            elif follower == 92:
                literal.append(92)
            else:
                break  # RE2 stops at what it does not understand
            position += 2
        pieces.append(bytes(literal))
        groups.append(-1)
        return groups

    def replace_all(self, value: bytes) -> bytes:
        """As RE2::GlobalReplace."""
        groups = self._valid
        if groups is None:
            return value
        pieces = self._pieces
        size = len(value)
        out: list[bytes] = []
        position = 0
        last_end = -1
        while position <= size:
            spans = self._match(_UNANCHORED, value, position, size)
            start: int = spans[0][0]
            end: int = spans[0][1]
            if start < 0:
                break
            if position < start:
                out.append(value[position:start])
                position = start
            if start == last_end and start == end:
                # An empty match right behind the last match does not count; one character is passed over.
                width = _character_width(value, position)
                out.append(value[position : position + width])
                position += width
                continue
            for index, group in enumerate(groups):
                out.append(pieces[index])
                if group >= 0:
                    span = spans[group]
                    if span[0] >= 0:
                        out.append(value[span[0] : span[1]])
            position = end
            last_end = end
        if not out and position == 0:
            return value
        if position < size:
            out.append(value[position:])
        return b"".join(out)

    def describe(self) -> str:
        return f"s/{self.text}/{self.substitution}/"


_QUANTIFIERS: Final = "*+?{"
_SPECIAL: Final = "\\.^$*+?()[]{}|"


def literal_prefix(text: str) -> str:
    """Text that every value matched in full by a pattern begins with; "" where that is not plain to see.

    Lets an index pass over patterns that cannot match. Cautious: what it does not understand ends the prefix.
    """
    if "|" in text and not _alternatives_are_grouped(text):
        return ""
    position = 1 if text.startswith("^") else 0
    prefix: list[str] = []
    size = len(text)
    while position < size:
        character = text[position]
        position += 1
        if character == "\\":
            # An escaped letter or digit is a class, an assertion or a code.
            if position == size or text[position].isalnum() or not text[position].isascii():
                break
            character = text[position]
            position += 1
        elif character in _SPECIAL:
            break
        if position < size and text[position] in _QUANTIFIERS:
            break
        prefix.append(character)
    return "".join(prefix)


def _alternatives_are_grouped(text: str) -> bool:
    """Whether every "|" stands within parentheses; False when in doubt."""
    if "[" in text or "\\Q" in text:
        return False
    depth = 0
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "|" and depth <= 0:
            return False
        position += 1
    return True


def _character_width(value: bytes, position: int) -> int:
    """Bytes of the UTF-8 character at `position`, 1 for anything malformed."""
    if position >= len(value):
        return 1
    lead = value[position]
    width = 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    for follower in value[position + 1 : position + width]:
        if follower & 0xC0 != 0x80:
            return 1
    return width if position + width <= len(value) else 1


def _compile(text: str, captures: bool) -> _re2.RE2:
    options = _re2.RE2.Options()
    options.log_errors = False
    options.never_capture = not captures
    compiled = _re2.RE2(text.encode("utf-8", "surrogateescape"), options)
    if not compiled.ok():
        raise RegexError(compiled.error().decode("utf-8", "replace"))
    return compiled


def parse_regex(view: View) -> Regex:
    """From a RegexMatcher (envoy's or xds's). Raises ConfigError."""
    _accept_engine(view)
    try:
        return Regex(view.text("regex"))
    except RegexError as error:
        raise view.error(str(error), "regex") from None


def parse_regex_rewrite(view: View) -> RegexRewrite:
    """From a RegexMatchAndSubstitute. Raises ConfigError."""
    pattern = view.message("pattern")
    if pattern is None:
        raise view.error("value is required", "pattern")
    _accept_engine(pattern)
    try:
        return RegexRewrite(pattern.text("regex"), view.text("substitution"))
    except RegexError as error:
        raise pattern.error(str(error), "regex") from None


def _accept_engine(view: View) -> None:
    engine = view.message("google_re2")
    if engine is not None and view.type_name.startswith("envoy."):
        # Envoy ignores it since 1.12; runtime keys took its place.
        engine.accept("max_program_size")
