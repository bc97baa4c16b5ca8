"""URI templates of `envoy.path.match.uri_template` and `envoy.path.rewrite.uri_template`.

`*` is one path segment, `**` any rest of the path, `{name}` a segment that is remembered, `{name=pattern}` what the
pattern takes. A segment may also be literal text around one variable, or a glob with literal text behind it.
"""

from __future__ import annotations

import re
from typing import Final

from re2 import _re2

_BOTH: Final = _re2.RE2.Anchor.ANCHOR_BOTH
_PCHAR: Final = r"a-zA-Z0-9\-._~%!$&'()+,;:@="
_SEGMENT: Final = f"[{_PCHAR}*]+"
_REST: Final = f"[{_PCHAR}/]*"
_REST_OF_VARIABLE: Final = f"[{_PCHAR}*/]*"

_VALID: Final = re.compile(rf"/[{_PCHAR}*?/{{}}|]*", re.ASCII)
_LITERAL: Final = re.compile(rf"[{_PCHAR}*]+", re.ASCII)
_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*", re.ASCII)
_REWRITE: Final = re.compile(rf"/[{_PCHAR}*/{{}}_]*", re.ASCII)
_MAX_VARIABLES: Final = 5
_MAX_NAME: Final = 16


class TemplateError(ValueError):
    """A template that does not parse; `str()` says why."""


def _quote(literal: str) -> str:
    # Envoy lets a star in a literal through to the regular expression.
    return re.escape(literal).replace(r"\*", "*")


class _Parser:
    """Turns a template into a regular expression with one group per variable."""

    def __init__(self, template: str) -> None:
        self.template = template
        self.names: list[str] = []
        # A `**` stands already: nothing that varies may follow.
        self.rest_seen = False

    def parse(self) -> str:
        if not _VALID.fullmatch(self.template):
            raise TemplateError(f'Invalid pattern: "{self.template}"')
        segments = _split(self.template[1:])
        parts: list[str] = []
        for number, segment in enumerate(segments):
            last = number == len(segments) - 1
            parts.append("/" + ("" if last and not segment else self._segment(segment, last)))
        return "".join(parts)

    def _segment(self, segment: str, last: bool) -> str:
        if segment in ("*", "**"):
            return self._glob(segment, _REST)
        if "{" in segment:
            prefix, _, rest = segment.partition("{")
            if segment.startswith("*"):
                raise TemplateError(f'Invalid literal: "{segment.lstrip("*")}"')
            if "}" not in rest:
                if _LITERAL.fullmatch(prefix) and not rest:
                    raise TemplateError(f'Invalid literal: "{segment}"')
                raise TemplateError(f'Unmatched variable bracket in mixed pattern: "{segment}"')
            variable, _, suffix = rest.partition("}")
            if suffix and not _LITERAL.fullmatch(suffix):
                raise TemplateError(f'Invalid suffix literal: "{suffix}"')
            text = _quote(self._literal(prefix)) if prefix else ""
            return text + self._variable(variable) + _quote(suffix)
        if segment.startswith("**"):
            if not last:
                raise TemplateError("Prefix match not supported.")
            return self._glob("**", _REST) + _quote(self._literal(segment[2:]))
        if segment.startswith("*"):
            return self._glob("*", _REST) + _quote(self._literal(segment[1:]))
        return _quote(self._literal(segment))

    def _literal(self, text: str) -> str:
        if not _LITERAL.fullmatch(text):
            raise TemplateError(f'Invalid literal: "{text}"')
        return text

    def _glob(self, glob: str, rest: str) -> str:
        if self.rest_seen:
            raise TemplateError("Glob after text glob.")
        if glob == "*":
            return _SEGMENT
        self.rest_seen = True
        return rest

    def _variable(self, text: str) -> str:
        name, equal, pattern = text.partition("=")
        if not _NAME.fullmatch(name):
            raise TemplateError(f'Invalid variable name: "{name}"')
        if len(name) > _MAX_NAME:
            raise TemplateError(
                f'Invalid variable name length (length of "{name}" should be at least 1 and no more than {_MAX_NAME})'
            )
        if name in self.names:
            raise TemplateError(f'Repeated variable name: "{name}"')
        if len(self.names) == _MAX_VARIABLES:
            raise TemplateError(f"Exceeded variable count limit ({_MAX_VARIABLES})")
        self.names.append(name)
        if not equal:
            if self.rest_seen:
                raise TemplateError("Implicit variable path glob after text glob.")
            return f"({_SEGMENT})"
        if not pattern:
            raise TemplateError("Empty variable match")
        parts: list[str] = []
        if pattern.endswith("/"):
            raise TemplateError('Invalid variable match: "/"')
        for part in pattern.split("/"):
            if part in ("*", "**"):
                parts.append(self._glob(part, _REST_OF_VARIABLE))
            elif part.startswith("*"):
                raise TemplateError(f'Invalid variable match: "{part.lstrip("*")}"')
            else:
                parts.append(_quote(self._literal(part)))
        return f"({'/'.join(parts)})"


def _split(text: str) -> list[str]:
    """Split at slashes that are not within braces."""
    segments: list[str] = []
    start = 0
    depth = 0
    for index, character in enumerate(text):
        if character == "{":
            depth += 1
        elif character == "}":
            depth = max(depth - 1, 0)
        elif character == "/" and depth == 0:
            segments.append(text[start:index])
            start = index + 1
    segments.append(text[start:])
    return segments


class UriTemplate:
    """A compiled template."""

    __slots__ = ("text", "names", "_match")

    def __init__(self, text: str) -> None:
        """Raises TemplateError."""
        parser = _Parser(text)
        pattern = parser.parse()
        self.text = text
        self.names: list[str] = parser.names
        options = _re2.RE2.Options()
        options.log_errors = False
        compiled = _re2.RE2(pattern.encode(), options)
        # A literal with two stars is valid for Envoy, and then matches nothing.
        self._match = compiled.Match if compiled.ok() else None

    def matches(self, path: bytes) -> bool:
        """Whether the whole path (without query) fits."""
        if self._match is None:
            return False
        return self._match(_BOTH, path, 0, len(path))[0][0] == 0  # type: ignore[no-any-return]

    def values(self, path: bytes) -> list[bytes] | None:
        """What the variables stand for, in the order of `names`; None when the path does not fit."""
        if self._match is None:
            return None
        spans = self._match(_BOTH, path, 0, len(path))
        if spans[0][0] < 0:
            return None
        return [path[start:end] if start >= 0 else b"" for start, end in spans[1:]]


class UriTemplateRewrite:
    """A rewrite in terms of a template's variables."""

    __slots__ = ("text", "names", "_literals")

    def __init__(self, text: str) -> None:
        """Raises TemplateError."""
        self.text = text
        self.names: list[str] = []
        # One more literal than names: they alternate.
        self._literals: list[bytes] = []
        if not _REWRITE.fullmatch(text) or "//" in text:
            raise TemplateError("is invalid")
        rest = text
        while True:
            literal, brace, rest = rest.partition("{")
            if "}" in literal:
                raise TemplateError("is invalid")
            self._literals.append(literal.encode())
            if not brace:
                break
            name, brace, rest = rest.partition("}")
            if not brace or not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
                raise TemplateError("is invalid")
            self.names.append(name)

    def bind(self, template: UriTemplate) -> list[int] | None:
        """For every variable here its place among the template's; None when the template lacks one."""
        if any(name not in template.names for name in self.names):
            return None
        return [template.names.index(name) for name in self.names]

    def expand(self, places: list[int], values: list[bytes]) -> bytes:
        parts = [self._literals[0]]
        for number, place in enumerate(places):
            parts.append(values[place])
            parts.append(self._literals[number + 1])
        return b"".join(parts)
