"""Tags: the variable parts of a stat's name.

`cluster.foo.upstream_rq_200` is the tag-extracted name `cluster.upstream_rq` with the tags
`envoy.response_code=200` and `envoy.cluster_name=foo`. Nothing here runs before an exposition or a
sink asks; the answer is kept in the metric.
"""

import re
from collections.abc import Sequence

from outrider.stats.metrics import Metric, Tags
from outrider.stats.well_known_tags import REGEX_TAGS, TOKEN_TAGS

# What an extractor finds: the value, and the part of the name (start, end) to take out.
Found = tuple[str, int, int]

POSIX_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "d": "0-9",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"!-/:-@\[-`{-~",
    "s": r"\s",
    "space": r"\s",
    "upper": "A-Z",
    "w": r"\w",
    "xdigit": "0-9a-fA-F",
}


def translate_ecmascript(pattern: str) -> str:
    """The Python form of an ECMAScript expression, the dialect of `stats_tags` (C++ std::regex).

    They differ in POSIX classes within brackets, in `$` before a last newline, in `[]` and `[^]`,
    and in brackets within brackets. Raises ValueError for groups that ECMAScript does not have.
    """
    out: list[str] = []
    i = 0
    in_class = False
    while i < len(pattern):
        char = pattern[i]
        if char == "\\":
            out.append(pattern[i : i + 2])
            i += 2
            continue
        if not in_class:
            if pattern.startswith("[^]", i):
                out.append(r"[\s\S]")
                i += 3
                continue
            if pattern.startswith("[]", i):
                out.append("(?!)")
                i += 2
                continue
            if pattern.startswith("(?", i) and pattern[i + 2 : i + 3] not in (":", "=", "!"):
                raise ValueError("a group must begin with (?: or (?= or (?!")
            in_class = char == "["
            out.append(r"\Z" if char == "$" else char)
        elif char == "]":
            in_class = False
            out.append(char)
        elif char == "[":
            end = pattern.find(":]", i)
            name = pattern[i + 2 : end] if pattern.startswith("[:", i) and end > 0 else ""
            if name in POSIX_CLASSES:
                out.append(POSIX_CLASSES[name])
                i = end + 2
                continue
            out.append(r"\[")
        elif char in "-&~|" and out and out[-1] == char:
            out.append("\\" + char)
        else:
            out.append(char)
        i += 1
    return "".join(out)


def prefix_token(pattern: str) -> str:
    """The first token that every name matching a regular expression must have, or ""."""
    found = re.match(r"\^([A-Za-z0-9_]+)(?:\\\.|\(\?=\\\.\)|\$\Z)", pattern)
    return found.group(1) if found else ""


class TagExtractor:
    """Finds one tag in names. `prefix` is the first token of the names it can match, or ""."""

    __slots__ = ("name", "prefix")

    def __init__(self, name: str, prefix: str) -> None:
        self.name = name
        self.prefix = prefix

    def extract(self, name: str) -> Found | None:
        """The value found in the name, and where it stands."""
        raise NotImplementedError


class FixedTag(TagExtractor):
    """A tag with the same value on every metric."""

    __slots__ = ("value",)

    def __init__(self, name: str, value: str) -> None:
        super().__init__(name, "")
        self.value = value

    def extract(self, name: str) -> Found | None:
        return (self.value, 0, 0)


class RegexExtractor(TagExtractor):
    """A tag found by a regular expression, see `well_known_tags.RegexTag`."""

    __slots__ = ("negative", "pattern", "substr")

    def __init__(self, name: str, pattern: str, substr: str = "", negative: str = "") -> None:
        """Raises ValueError for a bad expression."""
        super().__init__(name, prefix_token(pattern))
        self.substr = substr
        self.negative = negative
        try:
            self.pattern = re.compile(translate_ecmascript(pattern), re.ASCII)
        except (ValueError, re.error) as error:
            raise ValueError(f"Invalid regex '{pattern}': {error}") from error

    def extract(self, name: str) -> Found | None:
        if self.substr and self.substr not in name:
            return None
        found = self.pattern.search(name)
        if found is None or not self.pattern.groups:
            return None
        value = found.group(2 if self.pattern.groups > 1 else 1) or ""
        if self.negative and value == self.negative:
            return None
        start, end = found.span(1)
        return (value, max(start, 0), max(end, 0))


class TokenExtractor(TagExtractor):
    """A tag found by position among the tokens of a name, see `well_known_tags.TokenTag`."""

    __slots__ = ("tokens",)

    def __init__(self, name: str, pattern: str) -> None:
        self.tokens = pattern.split(".")
        super().__init__(name, "" if self.tokens[0] in ("$", "*", "**") else self.tokens[0])

    def extract(self, name: str) -> Found | None:
        words = name.split(".")
        index = self.match(words, 0, 0, -1)
        if index < 0:
            return None
        start = sum(len(word) + 1 for word in words[:index])
        return (words[index], start, start + len(words[index]) + 1)

    def match(self, words: list[str], at: int, token: int, value: int) -> int:
        """The index of the word that is the value when words[at:] match tokens[token:], or -1."""
        tokens = self.tokens
        while token < len(tokens):
            want = tokens[token]
            if want == "**":
                if token == len(tokens) - 1:
                    return value if at < len(words) else -1
                for later in range(at, len(words)):
                    found = self.match(words, later, token + 1, value)
                    if found >= 0:
                        return found
                return -1
            if at >= len(words):
                return -1
            if want == "$":
                value = at
            elif want not in ("*", words[at]):
                return -1
            at += 1
            token += 1
        return value if at == len(words) else -1


class TagProducer:
    """The tags of names: default ones, those of `stats_config.stats_tags`, and `--stats-tag`."""

    __slots__ = ("anywhere", "by_prefix", "fixed")

    def __init__(self, extractors: Sequence[TagExtractor] | None = None) -> None:
        """Without extractors: the default tags."""
        self.anywhere: list[TagExtractor] = []
        self.by_prefix: dict[str, list[TagExtractor]] = {}
        self.fixed: list[tuple[str, str]] = []
        for extractor in default_extractors() if extractors is None else extractors:
            if isinstance(extractor, FixedTag):
                self.fixed.append((extractor.name, extractor.value))
            if extractor.prefix:
                self.by_prefix.setdefault(extractor.prefix, []).append(extractor)
            else:
                self.anywhere.append(extractor)

    def produce(self, name: str) -> tuple[str, Tags]:
        """The tag-extracted name and the tags of a full name."""
        tags: list[tuple[str, str]] = []
        cuts: list[tuple[int, int]] = []
        seen: set[str] = set()
        self.apply(self.anywhere, name, tags, cuts, seen)
        dot = name.find(".")
        if dot >= 0:
            group = self.by_prefix.get(name[:dot])
            if group is not None:
                self.apply(group, name, tags, cuts, seen)
        return (without(name, cuts) if cuts else name, tuple(tags))

    def apply(
        self,
        extractors: list[TagExtractor],
        name: str,
        tags: list[tuple[str, str]],
        cuts: list[tuple[int, int]],
        seen: set[str],
    ) -> None:
        for extractor in extractors:
            # A tag that two extractors can find is taken from the first.
            if extractor.name in seen:
                continue
            found = extractor.extract(name)
            if found is not None:
                value, start, end = found
                seen.add(extractor.name)
                tags.append((extractor.name, value))
                if end > start:
                    cuts.append((start, end))

    def describe(self, metric: Metric) -> None:
        """Fill `metric.tag_extracted_name` and `metric.tags` if they are not yet."""
        if metric.tag_extracted_name:
            return
        if metric.own_name:
            metric.tag_extracted_name, metric.tags = metric.own_name, metric.own_tags
        else:
            metric.tag_extracted_name, metric.tags = self.produce(metric.name)


def without(name: str, cuts: list[tuple[int, int]]) -> str:
    """A name without some of its parts; parts may overlap."""
    cuts.sort()
    out: list[str] = []
    at = 0
    for start, end in cuts:
        if start > at:
            out.append(name[at:start])
        at = max(at, end)
    out.append(name[at:])
    return "".join(out)


def default_extractors() -> list[TagExtractor]:
    """Extractors of all well-known tags, in their order."""
    extractors: list[TagExtractor] = [
        RegexExtractor(tag.name, tag.pattern, tag.substr, tag.negative) for tag in REGEX_TAGS
    ]
    extractors.extend(TokenExtractor(tag.name, tag.pattern) for tag in TOKEN_TAGS)
    return extractors


def default_extractors_named(name: str) -> list[TagExtractor]:
    """The default extractors of one tag: what `stats_tags` means by a tag name without a regex."""
    return [extractor for extractor in default_extractors() if extractor.name == name]
