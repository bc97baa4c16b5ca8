"""Runtime: values, layers, the admin layer, a disk layer whose link is swapped."""

from __future__ import annotations

from pathlib import Path

import pytest

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.runtime import Runtime, make_entry
from outrider.config.runtime_layers import (
    AdminLayer,
    DiskLayer,
    Layer,
    NoAdminLayer,
    RuntimeLoader,
    build_layers,
    flatten,
    parse_text,
)
from outrider.config.view import View
from outrider.stats.store import Store


def static(values: dict[str, object]) -> Layer:
    into: dict[str, tuple[object, str]] = {}
    flatten("", values, into)
    return Layer("static", into)


def loader(*layers: Layer) -> RuntimeLoader:
    return RuntimeLoader(list(layers), Store())


def test_trees_are_flattened_and_fractions_are_leaves() -> None:
    made = loader(static({"a": {"b": {"c": 5}}, "f": {"numerator": 3, "denominator": "TEN_THOUSAND"}}))
    assert made.runtime.get_integer("a.b.c", 0) == 5
    assert made.runtime.fraction_enabled("f", 0, 100, 10_002)
    assert not made.runtime.fraction_enabled("f", 100, 100, 10_003)


def test_lists_and_nulls_are_refused_by_key() -> None:
    with pytest.raises(ValueError, match="Invalid runtime entry value for x"):
        static({"x": [1]})
    with pytest.raises(ValueError, match=r"Invalid runtime entry value for a\.x"):
        static({"a": {"x": None}})


def test_types_and_defaults() -> None:
    runtime = Runtime({key: make_entry(value) for key, value in {"i": 7, "f": 1.5, "b": True, "s": "x", "n": -1}.items()})
    assert runtime.get_integer("i", 0) == 7
    assert runtime.get_integer("f", 3) == 3
    assert runtime.get_number("f", 0.0) == 1.5
    assert runtime.get_boolean("b", False)
    assert not runtime.get_boolean("i", False)
    assert runtime.get_integer("s", 9) == 9
    assert runtime.get_integer("n", 9) == 9
    assert runtime.get_number("n", 0.0) == -1.0
    assert runtime.get("s") == "x"
    assert runtime.get("f") == "1.5"
    assert runtime.get("absent", "d") == "d"


def test_fractions_by_whole_per_cent_and_by_default() -> None:
    runtime = Runtime({"p": make_entry(30)})
    assert runtime.fraction_enabled("p", 0, 100, 129)
    assert not runtime.fraction_enabled("p", 100, 100, 130)
    assert runtime.fraction_enabled("absent", 1, 1_000_000, 1_000_000)
    assert not runtime.fraction_enabled("absent", 1, 1_000_000, 1)
    assert runtime.feature_enabled("p", 0, 29)
    assert not runtime.feature_enabled("p", 100, 30)


def test_the_later_layer_wins_and_all_are_shown() -> None:
    made = loader(static({"a": 1, "b": "x"}), AdminLayer("admin", {}))
    made.modify({"a": "2", "c": "true"})
    assert made.runtime.get_integer("a", 0) == 2
    assert made.runtime.get_boolean("c", False)
    shown = made.describe()
    assert shown["layers"] == ["static", "admin"]
    assert shown["entries"] == {
        "a": {"layer_values": ["1", "2"], "final_value": "2"},
        "b": {"layer_values": ["x", ""], "final_value": "x"},
        "c": {"layer_values": ["", "true"], "final_value": "true"},
    }
    made.modify({"a": ""})
    assert made.runtime.get_integer("a", 0) == 1


def test_modify_needs_an_admin_layer() -> None:
    with pytest.raises(NoAdminLayer, match="No admin layer specified"):
        loader(static({})).modify({"a": "1"})


def test_stats_of_loads() -> None:
    store = Store()
    made = RuntimeLoader([static({"a": 1}), AdminLayer("admin", {})], store)
    assert store.gauge("runtime.num_keys").value == 1
    assert store.gauge("runtime.num_layers").value == 2
    assert store.gauge("runtime.admin_overrides_active").value == 0
    made.modify({"b": "1"})
    assert store.gauge("runtime.admin_overrides_active").value == 1
    assert store.counter("runtime.load_success").value == 2


def test_every_change_is_told() -> None:
    made = loader(AdminLayer("admin", {}))
    told: list[dict[str, tuple[object, str]]] = []
    made.on_change = lambda: told.append(made.plain())
    made.modify({"k": "v"})
    assert told == [{"k": ("v", "v")}]


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("true", True), ("1.5", 1.5), ("some words", "some words"), ("{numerator: 1}", {"numerator": 1})],
)
def test_text_is_read_as_yaml(text: str, value: object) -> None:
    assert parse_text(text) == (value, text)


def test_a_swapped_link_reloads_the_disk_layer(tmp_path: Path) -> None:
    for name, value in (("v1", "1"), ("v2", "2")):
        folder = tmp_path / name / "envoy" / "health"
        folder.mkdir(parents=True)
        (folder / "interval").write_text(f"# a comment\n{value}\n")
    link = tmp_path / "current"
    link.symlink_to("v1")
    made = loader(DiskLayer("disk", str(link), "envoy"))
    assert made.runtime.get_integer("health.interval", 0) == 1
    made.check_disk()
    assert made.runtime.generation == 1
    fresh = tmp_path / "fresh"
    fresh.symlink_to("v2")
    fresh.rename(link)
    made.check_disk()
    assert made.runtime.get_integer("health.interval", 0) == 2


def test_a_missing_directory_is_no_layer(tmp_path: Path) -> None:
    made = loader(static({"a": 1}), DiskLayer("disk", str(tmp_path / "absent"), ""))
    assert made.describe()["layers"] == ["static"]
    assert made.stats.override_dir_not_exists.value == 1


def layered(**layers: object) -> View:
    message = api.new("envoy.config.bootstrap.v3.LayeredRuntime")
    for name, kind in layers.items():
        layer = message.layers.add()  # type: ignore[attr-defined]
        layer.name = name.rstrip("_")
        getattr(layer, str(kind)).SetInParent()
    return View(message)


def test_layers_of_a_configuration() -> None:
    assert build_layers(None, "") == []
    assert [type(each) for each in build_layers(layered(a="static_layer", b="admin_layer"), "")] == [Layer, AdminLayer]
    with pytest.raises(ConfigError, match="Duplicate layer name: a"):
        build_layers(layered(a="static_layer", a_="static_layer"), "")
    with pytest.raises(ConfigError, match="Too many admin layers"):
        build_layers(layered(a="admin_layer", b="admin_layer"), "")


def test_discovered_layer_is_there_from_the_start() -> None:
    loader = RuntimeLoader(build_layers(layered(a="rtds_layer"), ""), Store())
    assert [layer.name for layer in loader.active()] == ["a"] and loader.entries() == {}
