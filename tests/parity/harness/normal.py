"""Takes out of texts what differs between two runs by nature."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.MULTILINE), text)
    for pattern, text in (
        (r"^(date|last-modified): [A-Z][a-z]{2}, \d.*?GMT", r"\1: {date}"),
        (r"^(x-envoy-upstream-service-time: )\d+", r"\1{ms}"),
        # What is left of 15 seconds at another attempt.
        (r"^(x-envoy-expected-rq-timeout-ms: )14\d\d\d$", r"\g<1>15000"),
        (r"^(x-envoy-expected-rq-timeout-ms: )13\d\d\d$", r"\g<1>14000"),
        # The digit that says why the request is traced stays.
        (r"\b[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b", r"{uuid\1}"),
    )
)

# What the system chose for an outgoing connection.
_CLIENT_PORT = re.compile(r"127\.0\.0\.1:[3-6]\d{4}\b")


class Normalizer:
    """`words` maps what is particular to one side (ports, folder) to a common name."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = dict(words)
        longest_first = sorted(self._words, key=len, reverse=True)
        self._pattern = re.compile("|".join(rf"(?<![0-9]){re.escape(word)}(?![0-9])" for word in longest_first))

    def __call__(self, text: str, further: Sequence[tuple[str, str]] = ()) -> str:
        # Request ids first: they may contain the digits of a port.
        for pattern, replacement in _RULES:
            text = pattern.sub(replacement, text)
        if self._words:
            text = self._pattern.sub(self._named, text)
        text = _CLIENT_PORT.sub("127.0.0.1:{client}", text)
        for given, replacement in further:
            text = re.sub(given, replacement, text, flags=re.MULTILINE)
        return text

    def _named(self, match: re.Match[str]) -> str:
        return self._words[match[0]]


def grouped(text: str) -> str:
    """Fields of one name side by side in each header block: their order among others means nothing (RFC 9110 5.3)."""
    out: list[str] = []
    block: dict[str, list[str]] = {}
    in_head = False
    for line in text.split("\n"):
        if in_head and line and ":" in line:
            block.setdefault(line.partition(":")[0].lower(), []).append(line)
            continue
        for lines in block.values():
            out.extend(lines)
        block.clear()
        in_head = line.startswith("HTTP/1.") or line.endswith((" HTTP/1.1", " HTTP/1.0"))
        out.append(line)
    for lines in block.values():
        out.extend(lines)
    return "\n".join(out)


def printable(data: bytes) -> str:
    """Bytes as lines: CR LF becomes a line end, other unusual bytes are escaped."""
    text = data.decode("latin-1").replace("\r\n", "\n")
    return re.sub(r"[^\n\x20-\x7e]", _escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"
