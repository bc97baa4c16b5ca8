"""Takes a JSON array apart while it comes: a client stream's messages. Checks no more than where elements end."""

from __future__ import annotations

import re
from typing import Final

_INTERESTING: Final = re.compile(rb'["\[\]{},]')
_STRING_MARK: Final = re.compile(rb'["\\]')
_SPACE: Final = b" \t\r\n"


class JsonError(ValueError):
    """The text is not JSON, or not a JSON array."""


class ArraySplitter:
    """`feed` gives the texts of the elements that are complete."""

    __slots__ = ("_rest", "_at", "_depth", "_in_string", "_escaped", "_begun", "_ended", "_after_comma")

    def __init__(self) -> None:
        # The text of the current element so far, and how much of it has been looked at.
        self._rest = b""
        self._at = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._begun = False
        self._ended = False
        self._after_comma = False

    @property
    def held(self) -> int:
        return len(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """Raises JsonError."""
        text = self._rest + data
        if not self._begun:
            text = text.lstrip(_SPACE)
            if not text:
                self._rest = b""
                return []
            if text[:1] != b"[":
                raise JsonError("expected an array instead of an object")
            self._begun = True
            text = text[1:]
            self._at = 0
        elements: list[bytes] = []
        start = 0
        at = self._at
        while not self._ended:
            if self._in_string:
                at = self._skip_string(text, at)
                if self._in_string:
                    break
                continue
            match = _INTERESTING.search(text, at)
            if match is None:
                at = len(text)
                break
            at = match.end()
            mark = match[0]
            if mark == b'"':
                self._in_string = True
            elif mark in b"[{":
                self._depth += 1
            elif self._depth:
                if mark in b"]}":
                    self._depth -= 1
            elif mark == b"}":
                raise JsonError("unexpected '}'")
            else:
                element = text[start : match.start()].strip(_SPACE)
                start = at
                if element:
                    elements.append(element)
                elif mark == b"," or self._after_comma:
                    raise JsonError("an element is missing")
                self._after_comma = mark == b","
                self._ended = mark == b"]"
        self._rest = text[start:]
        self._at = at - start
        if self._ended and self._rest.strip(_SPACE):
            raise JsonError("there is something after the array")
        return elements

    def finish(self) -> None:
        """The text is over. Raises JsonError where the array is not."""
        if not self._ended:
            raise JsonError("the array is not complete")

    def _skip_string(self, text: bytes, at: int) -> int:
        if self._escaped:
            if at >= len(text):
                return at
            self._escaped = False
            at += 1
        while True:
            match = _STRING_MARK.search(text, at)
            if match is None:
                return len(text)
            at = match.end()
            if match[0] == b'"':
                self._in_string = False
                return at
            if at >= len(text):
                self._escaped = True
                return at
            at += 1
