"""From an HTTP request to a gRPC method: path templates of `google.api.http`, and what their variables catch.

Source: google/api/http.proto, "Path template syntax".
"""

from __future__ import annotations

import re
from typing import Final, Generic, TypeVar
from urllib.parse import unquote_to_bytes

T = TypeVar("T")

# UrlUnescapeSpec: what of a variable over several segments is unescaped.
UNESCAPE_EXCEPT_RESERVED: Final = 0
UNESCAPE_EXCEPT_SLASH: Final = 1
UNESCAPE_ALL: Final = 2
_RESERVED: Final = b"!#$&'()*+,/:;=?@[]"
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_SEGMENT: Final = re.compile(r"\*\*|\*|[^*/{}:]+")
_FIELD: Final = re.compile(r"[A-Za-z0-9_.]+")
# A request with more segments matches nothing: trying wildcards out costs time.
_MAX_SEGMENTS: Final = 256


class TemplateError(ValueError):
    """A path template that is not well-formed."""


class Variable:
    """Segments `start` to `end` (from behind when below 0; None = to the very end) go into a field."""

    __slots__ = ("field_path", "start", "end")

    def __init__(self, field_path: str, start: int, end: int | None) -> None:
        self.field_path = field_path
        self.start = start
        self.end = end


class Template:
    """A parsed template: its segments (a literal, `*` or `**`) and variables. A verb is the last segment."""

    __slots__ = ("segments", "variables", "verb")

    def __init__(self, text: str) -> None:
        """Raises TemplateError."""
        if not text.startswith("/"):
            raise TemplateError(f"'{text}' does not begin with '/'")
        self.segments: list[str] = []
        self.variables: list[Variable] = []
        self.verb = ""
        caught: list[tuple[str, int, int]] = []
        rest = text[1:]
        while rest:
            if rest.startswith("{"):
                inside, closed, rest = rest[1:].partition("}")
                name, _, pattern = inside.partition("=")
                if not closed or not _FIELD.fullmatch(name):
                    raise TemplateError(f"bad variable in '{text}'")
                start = len(self.segments)
                for part in (pattern or "*").split("/"):
                    self._add(part, text)
                caught.append((name, start, len(self.segments)))
            else:
                match = _SEGMENT.match(rest)
                if match is None:
                    raise TemplateError(f"bad segment in '{text}'")
                self._add(match[0], text)
                rest = rest[match.end() :]
            if rest.startswith(":"):
                self.verb = rest[1:]
                if not re.fullmatch(r"[^*/{}]+", self.verb):
                    raise TemplateError(f"bad verb in '{text}'")
                break
            if rest and not rest.startswith("/"):
                raise TemplateError(f"'{text}' is not well-formed")
            rest = rest[1:]
        if self.verb:
            self.segments.append(self.verb)
        self._place(caught, text)

    def _add(self, segment: str, text: str) -> None:
        if not _SEGMENT.fullmatch(segment):
            raise TemplateError(f"bad segment '{segment}' in '{text}'")
        self.segments.append(segment)

    def _place(self, caught: list[tuple[str, int, int]], text: str) -> None:
        wild = [at for at, segment in enumerate(self.segments) if segment == "**"]
        last = len(self.segments) - (2 if self.verb else 1)
        if len(wild) > 1 or (wild and wild[0] != last):
            raise TemplateError(f"'**' must be the last segment of '{text}'")
        for name, start, end in caught:
            behind: int | None = end
            if wild and start <= wild[0] < end:
                behind = -1 if self.verb else None
            self.variables.append(Variable(name, start, behind))


class _Target(Generic[T]):
    """What a template leads to."""

    __slots__ = ("value", "variables")

    def __init__(self, value: T, variables: list[Variable]) -> None:
        self.value = value
        self.variables = variables


class _Node(Generic[T]):
    __slots__ = ("literals", "any_one", "any_many", "targets")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.any_one: _Node[T] | None = None
        self.any_many: _Node[T] | None = None
        # By HTTP method; "*" for any.
        self.targets: dict[str, _Target[T]] = {}

    def target(self, method: str) -> _Target[T] | None:
        return self.targets.get(method) or self.targets.get("*")


class PathMatcher(Generic[T]):
    """Templates in a tree: a literal segment goes before `*`, which goes before `**`."""

    def __init__(self, unescape: int, plus_is_space: bool, any_verb: bool, ignored: frozenset[str]) -> None:
        self._root: _Node[T] = _Node()
        self._unescape = unescape
        self._plus_is_space = plus_is_space
        # A verb that no template has is told apart, too.
        self._any_verb = any_verb
        self._verbs: set[str] = set()
        self._ignored = ignored

    def add(self, method: str, template: Template, value: T) -> None:
        """The first of two equal templates stays."""
        node = self._root
        for segment in template.segments:
            if segment == "*":
                following = node.any_one
                if following is None:
                    following = node.any_one = _Node()
            elif segment == "**":
                following = node.any_many
                if following is None:
                    following = node.any_many = _Node()
            else:
                following = node.literals.get(segment)
                if following is None:
                    following = node.literals[segment] = _Node()
            node = following
        node.targets.setdefault(method, _Target(value, template.variables))
        if template.verb:
            self._verbs.add(template.verb)

    def find(self, method: str, path: str, query: str) -> tuple[T, list[tuple[str, str]]] | None:
        """What the request leads to, with (field path, value) of variables and query parameters."""
        parts = self._split(path)
        if len(parts) > _MAX_SEGMENTS:
            return None
        target = self._walk(self._root, parts, 0, method)
        if target is None:
            return None
        bindings: list[tuple[str, str]] = []
        for variable in target.variables:
            caught = parts[variable.start : variable.end]
            several = len(caught) > 1 or variable.end is None or variable.end < 0
            spec = self._unescape if several else UNESCAPE_ALL
            bindings.append((variable.field_path, "/".join(unescape(part, spec) for part in caught)))
        for pair in query.split("&"):
            name, equals, value = pair.partition("=")
            if equals and name not in self._ignored:
                bindings.append((name, self._query_value(value)))
        return target.value, bindings

    def _query_value(self, value: str) -> str:
        if self._plus_is_space:
            value = value.replace("+", " ")
        return unescape(value, UNESCAPE_ALL)

    def _split(self, path: str) -> list[str]:
        colon = path.rfind(":")
        if colon > path.rfind("/"):
            verb = path[colon + 1 :]
            if self._any_verb or verb in self._verbs:
                path = f"{path[:colon]}/{verb}"
        parts = path[1:].split("/") if path else []
        while parts and not parts[-1]:
            parts.pop()
        return parts

    def _walk(self, node: _Node[T], parts: list[str], at: int, method: str) -> _Target[T] | None:
        if at == len(parts):
            found = node.target(method)
            if found is None and node.any_many is not None:
                # `**` also matches nothing at all.
                found = node.any_many.target(method)
            return found
        literal = node.literals.get(parts[at])
        if literal is not None:
            found = self._walk(literal, parts, at + 1, method)
            if found is not None:
                return found
        if node.any_one is not None:
            found = self._walk(node.any_one, parts, at + 1, method)
            if found is not None:
                return found
        if node.any_many is not None:
            # What may follow `**` is a verb, which is the last segment.
            verb = node.any_many.literals.get(parts[-1])
            if verb is not None:
                found = verb.target(method)
                if found is not None:
                    return found
            return node.any_many.target(method)
        return None


def unescape(text: str, spec: int) -> str:
    """Percent-decoding; what is not UTF-8 afterwards is replaced."""
    if "%" not in text:
        return text
    raw = text.encode("latin-1")
    if spec == UNESCAPE_ALL:
        return unquote_to_bytes(raw).decode("utf-8", "replace")
    kept = b"/" if spec == UNESCAPE_EXCEPT_SLASH else _RESERVED
    out = bytearray()
    at = 0
    for match in _ESCAPE.finditer(raw):
        out += raw[at : match.start()]
        octet = int(match[1], 16)
        out += match[0] if octet in kept else bytes((octet,))
        at = match.end()
    return bytes(out + raw[at:]).decode("utf-8", "replace")
