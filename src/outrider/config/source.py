"""The text of a configuration file as plain values, and where in the text each of them stands.

YAML is read as Envoy reads it (yaml-cpp and `ValueUtil::loadFromYaml`): a
quoted scalar is a string; a plain one is null, a bool (also `yes`, `on`, `y`),
an integer (also octal `017` and hexadecimal), or else a string, floats
included. Integers beyond 32 bits become decimal strings. Of several documents
the first counts; a key tagged `!ignore` is dropped with its value, so it can
hold anchors. Of a key given twice the last counts, here with a warning. Beyond
Envoy, merge keys (`<<`) work.

Positions are computed only when a message for the user needs them: the text
is kept and composed again.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml
from yaml import _yaml  # libyaml's parser; Python's resolver above it costs 60 % of the time

from outrider.config.errors import ConfigError

Key = str | int
"""One step from the root of a file: a mapping's key as written, or an index."""

_PLAIN: Final = "?"
_QUOTED: Final = "!"
_IGNORE: Final = "!ignore"
_MERGE: Final = "<<"
_TWICE: Final = "key '{}' is given twice; the last one counts"
_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS: Final = {
    form: value
    for words, value in ((("y", "yes", "true", "on"), True), (("n", "no", "false", "off"), False))
    for word in words
    for form in (word, word.upper(), word.capitalize())
}
_INTEGER: Final = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*))")
_KINDS: Final = {".pb": "pb", ".pb_text": "pb_text", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}
_PATH_STEP: Final = re.compile(r'\["([^"]*)"\]|\[(\d+)\]|\.?([^.\[\]]+)')


class _Composer(_yaml.CParser):
    """libyaml's composer; the tag of a scalar says only whether it was plain or quoted."""

    def resolve(self, kind: type, value: str, implicit: Any) -> str:
        return _PLAIN if kind is yaml.ScalarNode and implicit[0] else _QUOTED

    def descend_resolver(self, current_node: object, current_index: object) -> None:
        pass

    def ascend_resolver(self) -> None:
        pass


class Source:
    """One configuration text: its name, its kind (`yaml`, `json`, `pb`, `pb_text`) and its content.

    `warnings` holds what `tree` found dubious.
    """

    __slots__ = ("_root", "content", "kind", "name", "warnings")

    def __init__(self, name: str, kind: str, content: bytes) -> None:
        self.name = name
        self.kind = kind
        self.content = content
        self.warnings: list[ConfigError] = []
        self._root: yaml.Node | None = None

    def tree(self) -> object:
        """The content as None, bool, int, float, str, list and dict. Raises ConfigError."""
        if self.kind == "json":
            return self._json_tree()
        root = self._compose()
        if root is None:
            raise ConfigError("the file is empty", file=self.name)
        try:
            return _Values(self.name, self.warnings).value(root)
        except RecursionError:
            raise ConfigError("is nested too deeply", file=self.name) from None

    def nodes(self) -> yaml.Node | None:
        """The composed nodes, for positions; None where the content has none."""
        if self._root is None and self.kind in ("yaml", "json"):
            try:
                self._root = self._compose()
            except ConfigError:  # JSON that is not YAML too (surrogate escapes)
                return None
        return self._root

    def _compose(self, whole: bool = False) -> yaml.Node | None:
        """The nodes of the first document; with `whole`, nothing may follow it."""
        content = self.content
        while True:
            try:
                composer = _Composer(content)
                if whole:
                    return composer.get_single_node()
                return composer.get_node() if composer.check_node() else None
            except yaml.YAMLError as error:
                mended = _without_tab(content, error)
                if mended is None:
                    raise _yaml_error(error, self.name) from None
                content = mended
            except RecursionError:
                raise ConfigError("is nested too deeply", file=self.name) from None

    def _json_tree(self) -> object:
        try:
            text = self.content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"is not UTF-8: {error.reason} at byte {error.start}", file=self.name) from None
        twice: list[str] = []
        try:
            tree: object = json.loads(text, object_pairs_hook=partial(_pairs, twice), parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            lenient = self._lenient_json()
            if lenient is not None:
                return lenient
            raise ConfigError(f"is not valid JSON: {error.msg}", None, self.name, error.lineno, error.colno) from None
        except RecursionError:
            raise ConfigError("is nested too deeply", file=self.name) from None
        self.warnings += [ConfigError(_TWICE.format(key), file=self.name) for key in twice]
        return tree

    def _lenient_json(self) -> object | None:
        """What protobuf's JSON parser takes beyond the standard: single quotes, bare keys, a comma at the end.

        All of it is YAML's flow style too; what remains is that plain scalars must be JSON's.
        """
        if not self.content.lstrip().startswith(b"{"):
            return None
        try:
            root = self._compose(whole=True)
            return _JsonValues(self.name, self.warnings).value(root) if root is not None else None
        except (ConfigError, RecursionError):
            return None


def _without_tab(content: bytes, error: yaml.YAMLError) -> bytes | None:
    """The text without the tab that libyaml stumbled over, where only a comment follows it: yaml-cpp does not mind."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return None
    lines = content.split(b"\n")
    line = lines[mark.line] if mark.line < len(lines) else b""
    if b"\t" not in line or not line.lstrip().startswith(b"#"):
        return None
    lines[mark.line] = line.replace(b"\t", b" ")
    return b"\n".join(lines)


def _pairs(twice: list[str], pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                twice.append(key)
            seen.add(key)
    return result


def _no_constant(text: str) -> object:
    raise json.JSONDecodeError(f"unexpected {text}", text, 0)


def plain_value(text: str) -> object:
    """What Envoy makes of a plain YAML scalar."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    return _tagged_value(text)


def _tagged_value(text: str) -> object:
    match = _INTEGER.fullmatch(text)
    if match is None:
        return text
    sign, hexadecimal, octal, decimal = match.groups()
    if hexadecimal is not None:
        number = int(hexadecimal, 16)
    elif octal is not None:
        number = int(octal, 8) if octal else 0
    else:
        number = int(decimal)
    if sign == "-":
        number = -number
    if not -(2**63) <= number < 2**63:
        return text
    # Envoy keeps larger numbers as text, because a google.protobuf.Value holds a double.
    return number if -(2**31) <= number < 2**31 else str(number)


class _Values:
    """Nodes to values, with anchors, merge keys and a warning for keys given twice."""

    __slots__ = ("_collections", "_file", "_plain", "_warnings")

    def __init__(self, file: str, warnings: list[ConfigError]) -> None:
        self._file = file
        self._warnings = warnings
        self._plain: dict[str, object] = {}
        self._collections: dict[int, object] = {}

    def value(self, node: yaml.Node) -> object:
        if node.__class__ is yaml.ScalarNode:
            text = node.value
            tag = node.tag
            if tag == _QUOTED:
                return text
            if tag != _PLAIN:  # an explicit tag (!!str) changes nothing for yaml-cpp but that null stays text
                return _BOOLS[text] if text in _BOOLS else _tagged_value(text)
            try:
                return self._plain[text]
            except KeyError:
                found = self._plain[text] = self.scalar(text, node)
                return found
        known = self._collections.get(id(node), self)
        if known is not self:
            if known is None:
                raise self._error("an anchor must not contain itself", node)
            return known
        self._collections[id(node)] = None
        result: object
        if node.__class__ is yaml.MappingNode:
            result = self._mapping(node)
        else:
            value = self.value
            result = [value(item) for item in node.value]
        self._collections[id(node)] = result
        return result

    def scalar(self, text: str, node: yaml.Node) -> object:
        return plain_value(text)

    def _mapping(self, node: yaml.Node) -> dict[str, object]:
        result: dict[str, object] = {}
        merged: list[yaml.Node] = []
        for key, item in node.value:
            if key.__class__ is not yaml.ScalarNode:
                raise self._error("a mapping's key must be a string", key)
            name = key.value
            if key.tag == _IGNORE:
                continue
            if name == _MERGE and key.tag == _PLAIN:
                merged.append(item)
                continue
            if name in result:
                self._warnings.append(self._error(_TWICE.format(name), key))
            result[name] = self.value(item)
        for item in merged:
            self._merge(item, result)
        return result

    def _merge(self, node: yaml.Node, into: dict[str, object]) -> None:
        value = self.value(node)
        for mapping in value if isinstance(value, list) else [value]:
            if not isinstance(mapping, dict):
                raise self._error("a merge key (<<) needs a mapping, or a list of mappings", node)
            for name, item in mapping.items():
                into.setdefault(name, item)

    def _error(self, text: str, node: yaml.Node) -> ConfigError:
        mark = node.start_mark
        return ConfigError(text, None, self._file, mark.line + 1, mark.column + 1)


class _JsonValues(_Values):
    """Nodes to values where the text is lenient JSON."""

    __slots__ = ()

    def scalar(self, text: str, node: yaml.Node) -> object:
        if text in ("true", "false", "null") or re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", text):
            return json.loads(text)
        raise self._error("is not a JSON value", node)


def _yaml_error(error: yaml.YAMLError, file: str) -> ConfigError:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        text = ", ".join(part for part in (error.context, error.problem) if part)
        if mark is not None:
            return ConfigError(f"is not valid YAML: {text}", None, file, mark.line + 1, mark.column + 1)
        return ConfigError(f"is not valid YAML: {text}", file=file)
    return ConfigError(f"is not valid YAML: {error}", file=file)


def kind_of(path: str, content: bytes) -> str:
    """The kind of a file, by its extension as Envoy decides it; any other is JSON where it begins so, else YAML."""
    lower = path.lower()
    for extension, kind in _KINDS.items():
        if lower.endswith(extension):
            return kind
    return "json" if content.lstrip()[:1] == b"{" else "yaml"


def read_file(path: str) -> Source:
    """Read a configuration file. Raises ConfigError."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=path) from None
    return Source(path, kind_of(path, content), content)


class Places:
    """Finds field paths in the sources that were merged into one message (`View`'s locator)."""

    __slots__ = ("_sources",)

    def __init__(self, *sources: Source) -> None:
        self._sources = sources

    def place(self, path: str) -> tuple[str | None, int | None]:
        """File and line of a field path (`a.b[0].c`): of its deepest part that is found."""
        steps: list[Key] = []
        for match in _PATH_STEP.finditer(path):
            quoted, index, name = match.groups()
            steps.append(quoted if quoted is not None else int(index) if index is not None else name)
        file, line, _ = self.find(steps)
        return file, line

    def find(self, steps: list[Key]) -> tuple[str | None, int | None, int | None]:
        """File, line and column (from 1) of the deepest step that is found.

        Lists of a later source continue those of an earlier one, as merging appends them.
        """
        current: list[tuple[Source, yaml.Node]] = []
        for source in self._sources:
            node = source.nodes()
            if node is not None:
                current.append((source, node))
        if not current:
            return (self._sources[0].name if self._sources else None), None, None
        best = (current[0][0], current[0][1]) if not steps else None
        for step in steps:
            current, at = _descend(current, step)
            if not current or at is None:
                break
            best = (current[0][0], at)
        if best is None:
            return self._sources[0].name, None, None
        mark = best[1].start_mark
        return best[0].name, mark.line + 1, mark.column + 1


def _descend(
    nodes: list[tuple[Source, yaml.Node]], step: Key
) -> tuple[list[tuple[Source, yaml.Node]], yaml.Node | None]:
    """One step down in every source, and the node (a key, an item) to point at."""
    found: list[tuple[Source, yaml.Node]] = []
    at: yaml.Node | None = None
    for source, node in nodes:
        if isinstance(step, int):
            if not isinstance(node, yaml.SequenceNode):
                if step == 0:  # one value where a list is expected counts as a list of one
                    found.append((source, node))
                    at = at or node
                step -= 1
            elif step < len(node.value):
                found.append((source, node.value[step]))
                at = at or node.value[step]
            else:
                step -= len(node.value)
            if found:
                break
        elif isinstance(node, yaml.MappingNode):
            pair = _pair(node, step)
            if pair is not None:
                found.append((source, pair[1]))
                at = at or pair[0]
    return found, at


def _pair(node: yaml.MappingNode, name: str) -> tuple[yaml.Node, yaml.Node] | None:
    wanted = name.replace("_", "").lower()
    for key, item in node.value:
        if isinstance(key, yaml.ScalarNode) and (key.value == name or key.value.replace("_", "").lower() == wanted):
            return key, item
    for key, item in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if key.value == _MERGE:
            for mapping in item.value if isinstance(item, yaml.SequenceNode) else [item]:
                found = _pair(mapping, name) if isinstance(mapping, yaml.MappingNode) else None
                if found is not None:
                    return found
        elif key.value == "value" and isinstance(item, yaml.MappingNode) and _has_type(node):
            return _pair(item, name)  # a TypedStruct: the fields stand below `value`
    return None


def _has_type(node: yaml.MappingNode) -> bool:
    return any(isinstance(key, yaml.ScalarNode) and key.value == "@type" for key, _ in node.value)
