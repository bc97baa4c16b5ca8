"""Points in time as text: strftime patterns with parts of a second, rendered once per second and patched thereafter.

Source: Envoy documentation, `%START_TIME%`. Patterns have strftime's conversions, `%f` and `%1f` to `%9f` (digits of
the fraction), `%s` (seconds since the epoch), and those of absl::FormatTime: `%E3S`, `%E*S`, `%E3f`, `%E*f`, `%E4Y`,
`%Ez`, `%E*z`, `%:z`, `%::z`.
"""

from __future__ import annotations

import re
import time
from typing import Final

from outrider.access_log.syntax import FormatError

DEFAULT_PATTERN: Final = "%Y-%m-%dT%H:%M:%E3SZ"
DEFAULT_LOCAL_PATTERN: Final = "%Y-%m-%dT%H:%M:%E3S%z"

# Digits of the fraction without trailing zeros (`%E*S`, `%E*f`).
_TRIMMED: Final = 0
_NEWLINE: Final = re.compile(r"%[-_0^#]*[1-9]*(E|O)?n")
_SPECIAL: Final = re.compile(r"%(?:(%)|([1-9])?f|(\d*)s|E(\d+|\*)([Sf])|(E4Y)|(Es)|(E\*z|::z)|(Ez|:z)|(Z))")
_MILLIS: Final[list[bytes]] = [b"%03d" % milli for milli in range(1000)]


class TimePattern:
    """One compiled pattern. Keeps the rendering of the last second it was asked for."""

    __slots__ = ("local", "segments", "digits", "_second", "_pieces")

    def __init__(self, pattern: str, local: bool = False) -> None:
        """Raises FormatError for a pattern that would print a newline."""
        if _NEWLINE.search(pattern):
            raise FormatError("Invalid header configuration. Format string contains newline.")
        self.local = local
        # Text between fractions: parts of (kind, argument), rendered per second.
        self.segments: list[list[tuple[str, str]]] = [[]]
        # Number of digits of the fraction after each segment but the last; `_TRIMMED` for as many as needed.
        self.digits: list[int] = []
        self._second: int = -1
        self._pieces: list[bytes] = []
        self._compile(pattern)

    def _compile(self, pattern: str) -> None:
        position = 0
        plain = ""
        for match in _SPECIAL.finditer(pattern):
            plain += pattern[position : match.start()]
            position = match.end()
            found = match.group(0)
            fraction = -1
            if match.group(1) is not None:
                plain += "%%"
                continue
            if found.endswith("f") and match.group(5) is None:
                fraction = int(match.group(2) or "9")
            elif match.group(5) is not None:
                if match.group(5) == "S":
                    plain += "%S"
                count = match.group(4)
                fraction = _TRIMMED if count == "*" else min(int(count), 9)
                if match.group(5) == "S" and fraction != _TRIMMED:
                    plain += "."
                elif match.group(5) == "S":
                    fraction = -2
                if count != "*" and int(count) == 0:
                    plain = plain.removesuffix(".")
                    continue
            if fraction != -1:
                self._add("strftime", plain)
                plain = ""
                self.digits.append(fraction)
                self.segments.append([])
                continue
            self._add("strftime", plain)
            plain = ""
            if match.group(6) is not None:
                self._add("year", "4")
            elif match.group(8) is not None:
                self._add("zone", "seconds")
            elif match.group(9) is not None:
                self._add("zone", "minutes")
            elif match.group(10) is not None:
                self._add("zone name", "")
            else:
                self._add("epoch", match.group(3) or "")
        self._add("strftime", plain + pattern[position:])

    def _add(self, kind: str, argument: str) -> None:
        if kind != "strftime" or argument:
            self.segments[-1].append((kind, argument))

    def _render_second(self, second: int) -> None:
        moment = time.localtime(second) if self.local else time.gmtime(second)
        pieces: list[bytes] = []
        for segment in self.segments:
            text = ""
            for kind, argument in segment:
                if kind == "strftime":
                    text += time.strftime(argument, moment)
                elif kind == "epoch":
                    text += str(second).rjust(int(argument or "0"))
                elif kind == "zone name":
                    text += moment.tm_zone if self.local else "UTC"
                elif kind == "year":
                    text += f"{moment.tm_year:04d}"
                else:
                    text += _zone_text(moment.tm_gmtoff, argument == "seconds")
            pieces.append(text.encode("utf-8", "surrogateescape"))
        self._second = second
        self._pieces = pieces

    def render(self, nanoseconds: int) -> bytes:
        """The text of a Unix time in nanoseconds."""
        second = nanoseconds // 1_000_000_000
        if second != self._second:
            self._render_second(second)
        pieces = self._pieces
        digits = self.digits
        if not digits:
            return pieces[0]
        rest = nanoseconds - second * 1_000_000_000
        if len(digits) == 1 and digits[0] == 3:
            return b"".join([pieces[0], _MILLIS[rest // 1_000_000], pieces[1]])
        text = [pieces[0]]
        nine = str(1_000_000_000 + rest)[1:]
        for index in range(len(digits)):
            count = digits[index]
            if count > 0:
                text.append(nine[:count].encode())
            else:
                trimmed = nine.rstrip("0")
                if count == -2 and trimmed:
                    trimmed = "." + trimmed
                text.append(trimmed.encode())
            text.append(pieces[index + 1])
        return b"".join(text)


def _zone_text(offset: int, with_seconds: bool) -> str:
    sign = "-" if offset < 0 else "+"
    offset = abs(offset)
    text = f"{sign}{offset // 3600:02d}:{offset // 60 % 60:02d}"
    return f"{text}:{offset % 60:02d}" if with_seconds else text
