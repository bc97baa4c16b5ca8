from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.config.errors import ConfigError
from outrider.config.source import Places, Source, kind_of, plain_value, read_file


def yaml(text: str) -> Source:
    return Source("f.yaml", "yaml", text.encode())


def json_source(text: str) -> Source:
    return Source("f.json", "json", text.encode())


# What yaml-cpp and Envoy make of plain scalars; checked with the real binary.
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True), ("on", True), ("y", True), ("TRUE", True), ("True", True), ("no", False), ("Off", False),
        ("tRUE", "tRUE"), ("", None), ("~", None), ("null", None), ("NULL", None), ("nULL", "nULL"),
        ("5", 5), ("-5", -5), ("+5", 5), ("017", 15), ("0x1F", 31), ("-0x10", -16), ("0", 0),
        ("0o17", "0o17"), ("08", "08"), ("1e3", "1e3"), ("1.0", "1.0"), (".5", ".5"), ("1_000", "1_000"),
        ("2147483647", 2147483647), ("2147483648", "2147483648"), ("-2147483648", -2147483648),
        ("0x80000000", "2147483648"), ("9223372036854775808", "9223372036854775808"), ("/api", "/api"),
    ],
)  # fmt: skip
def test_plain_scalars(text: str, value: object) -> None:
    found = plain_value(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a: 'yes'", {"a": "yes"}),
        ('a: "5"', {"a": "5"}),
        ("a: !!str 5", {"a": 5}),
        ("a: !!str ~", {"a": "~"}),
        ("a: |\n  5\n", {"a": "5\n"}),
        ("a: >-\n  x\n  y\n", {"a": "x y"}),
        ("yes: 1", {"yes": 1}),
        ("~: 1", {"~": 1}),
        ("a:", {"a": None}),
        ("a: &x [1, 2]\nb: *x", {"a": [1, 2], "b": [1, 2]}),
        ("!ignore x: &x {k: 1}\na: *x", {"a": {"k": 1}}),
        ("a: 1\n---\nb: [", {"a": 1}),
        ("\ufeffa: 1", {"a": 1}),
        ("[1]", [1]),
    ],
)
def test_yaml(text: str, tree: object) -> None:
    assert yaml(text).tree() == tree


def test_merge_keys() -> None:
    text = "b: &b {x: 1, y: 2}\nc: &c {x: 3, z: 4}\na:\n  <<: *b\n  y: 5\nd:\n  <<: [*b, *c]\n"
    tree: Any = yaml(text).tree()
    assert tree["a"] == {"x": 1, "y": 5}
    assert tree["d"] == {"x": 1, "y": 2, "z": 4}
    with pytest.raises(ConfigError, match=r"f.yaml:1:5: a merge key"):
        yaml("<<: 5").tree()


def test_of_a_key_given_twice_the_last_counts_with_a_warning() -> None:
    source = yaml("a: 1\nb: {c: 1, c: 2}\na: 3\n")
    assert source.tree() == {"a": 3, "b": {"c": 2}}
    assert [str(warning) for warning in source.warnings] == [
        "f.yaml:2:11: key 'c' is given twice; the last one counts",
        "f.yaml:3:1: key 'a' is given twice; the last one counts",
    ]
    source = json_source('{"a": 1, "a": 2}')
    assert source.tree() == {"a": 2}
    assert [str(warning) for warning in source.warnings] == ["f.json: key 'a' is given twice; the last one counts"]


def test_a_tab_before_a_comment_is_no_error() -> None:
    assert yaml("a:\n\t\t# comment\n  b: 1\n\t# another\n").tree() == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml: the file is empty"),
        ("# only a comment", "f.yaml: the file is empty"),
        ("a: [", "f.yaml:2:1: is not valid YAML: while parsing a flow node, did not find expected node content"),
        ("a:\n\tb: 1", "f.yaml:2:1: is not valid YAML"),
        ("a: *x", "f.yaml:1:4: is not valid YAML: found undefined alias"),
        ("{a: b}: 1", "f.yaml:1:1: a mapping's key must be a string"),
        ("a: &x [*x]", "an anchor must not contain itself"),
        ("a: \x01", "f.yaml: is not valid YAML"),
        ("[" * 5000, "f.yaml"),
    ],
)
def test_bad_yaml(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        yaml(text).tree()
    assert message in str(caught.value)


def test_bytes_that_are_no_text() -> None:
    for kind in ("yaml", "json"):
        with pytest.raises(ConfigError):
            Source("f", kind, b"{a: \xff\xfe}").tree()


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ('{"a": 1.0, "b": [true, null, "x"]}', {"a": 1.0, "b": [True, None, "x"]}),
        ('{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        ('{"a": 1, "b": [1,],}', {"a": 1, "b": [1]}),
        ("{'a': 'b', c: 5}", {"a": "b", "c": 5}),
    ],
)
def test_json(text: str, tree: object) -> None:
    assert json_source(text).tree() == tree


@pytest.mark.parametrize("text", ['{"a": yes}', '{"a": 012}', "a: 1", '{"a": 1} x', '{"a": NaN}', "", '{"a":'])
def test_bad_json(text: str) -> None:
    with pytest.raises(ConfigError, match="is not valid JSON"):
        json_source(text).tree()


@given(st.text())
def test_any_text_is_a_tree_or_a_config_error(text: str) -> None:
    for source in (yaml(text.replace("\ud800", "")), json_source(text)):
        try:
            source.tree()
        except ConfigError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.yaml", b"{", "yaml"), ("a.YML", b"", "yaml"), ("a.json", b"a: 1", "json"), ("a.pb", b"", "pb"),
        ("a.pb_text", b"", "pb_text"), ("a", b' {"a": 1}', "json"), ("/dev/fd/3", b"a: 1", "yaml"),
    ],
)  # fmt: skip
def test_the_extension_decides_the_kind(name: str, content: bytes, kind: str) -> None:
    assert kind_of(name, content) == kind


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.yaml: cannot be read: No such file"):
        read_file(str(tmp_path / "nowhere.yaml"))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_file(str(tmp_path))


TEXT = """static_resources:
  listeners:
  - name: a
    filterChains:
    - filters:
      - name: x
        typed_config:
          "@type": t/xds.type.v3.TypedStruct
          type_url: y
          value:
            stat_prefix: z
  - name: b
  clusters:
    name: single
metadata:
  m: {"k.e.y": 1}
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("static_resources", 1),
        ("static_resources.listeners[0]", 3),
        ("static_resources.listeners[1].name", 12),
        ("static_resources.listeners[0].filter_chains[0].filters[0].name", 6),
        ("static_resources.listeners[0].filter_chains[0].filters[0].typed_config.stat_prefix", 11),
        ("static_resources.clusters[0].name", 14),
        ("static_resources.clusters[0].nothing.deeper", 14),
        ('metadata.m["k.e.y"]', 16),
        ("nothing", None),
    ],
)
def test_places(path: str, line: int | None) -> None:
    assert Places(yaml(TEXT)).place(path) == ("f.yaml", line)


def test_places_in_merged_sources() -> None:
    over = Source("--config-yaml", "yaml", b"static_resources:\n  listeners:\n  - name: c\nnode: {id: x}")
    places = Places(yaml(TEXT), over)
    assert places.place("static_resources.listeners[1].name") == ("f.yaml", 12)
    assert places.place("static_resources.listeners[2].name") == ("--config-yaml", 3)
    assert places.place("node.id") == ("--config-yaml", 4)


def test_places_of_binary_sources_are_not_known() -> None:
    assert Places(Source("f.pb", "pb", b"")).place("a.b") == ("f.pb", None)
