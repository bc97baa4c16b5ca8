"""Files: read at the start, again when they are replaced, and kept when what comes is bad."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outrider.config.subscription import UPDATE_REJECTED
from tests.xds.fakes import CLUSTER
from tests.xds.scene import World

pytestmark = pytest.mark.integration


def text(version: str, *names: str, timeout: str = "1s") -> str:
    lines = [f"version_info: '{version}'", "resources:" if names else "resources: []"]
    for name in names:
        lines += [f"- '@type': type.googleapis.com/{CLUSTER}", f"  name: {name}", f"  connect_timeout: {timeout}"]
    return "\n".join(lines) + "\n"


def replace(path: Path, content: str) -> None:
    new = path.with_name("." + path.name)
    new.write_text(content)
    os.replace(new, path)


@pytest.fixture
def world() -> Iterator[World]:
    made = World(1)
    yield made
    made.close()


@pytest.mark.parametrize("form", ["path", "path_config_source", "watched", "polled"])
def test_a_replaced_file_is_read_again(world: World, tmp_path: Path, form: str) -> None:
    path = tmp_path / "cds.yaml"
    path.write_text(text("1", "a"))
    source: dict[str, Any] = {
        "path": {"path": str(path)},
        "path_config_source": {"path_config_source": {"path": str(path)}},
        "watched": {"path_config_source": {"path": str(path), "watched_directory": {"path": str(tmp_path)}}},
        "polled": {"path_config_source": {"path": str(path), "poll_interval": "0.05s"}},
    }[form]
    _, memory = world.subscribe(source, CLUSTER)
    assert memory.states == [(["a"], "1")]
    replace(path, text("2", "a", "b"))
    world.until(lambda: len(memory.states) == 2)
    assert memory.states[1] == (["a", "b"], "2")
    assert world.value("s.update_success") == 2
    assert world.value("s.version_text") == "2"


def test_the_directory_that_is_watched_is_a_link_to_another(world: World, tmp_path: Path) -> None:
    """How Kubernetes replaces a ConfigMap: a link to a folder is exchanged."""
    for number in ("1", "2"):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "cds.yaml").write_text(text(number, "a"))
    os.symlink("v1", tmp_path / "data")
    path = tmp_path / "data" / "cds.yaml"
    source = {"path_config_source": {"path": str(path), "watched_directory": {"path": str(tmp_path)}}}
    _, memory = world.subscribe(source, CLUSTER)
    os.symlink("v2", tmp_path / "new")
    os.replace(tmp_path / "new", tmp_path / "data")
    world.until(lambda: len(memory.states) == 2)
    assert memory.states[1] == (["a"], "2")


def test_bad_files_change_nothing(world: World, tmp_path: Path) -> None:
    path = tmp_path / "cds.yaml"
    path.write_text(text("1", "a"))
    _, memory = world.subscribe({"path": str(path)}, CLUSTER)
    replace(path, "resources: [")
    world.until(lambda: len(memory.failures) == 1)
    assert world.value("s.update_failure") == 1
    replace(path, text("2", "a", timeout="0s"))
    world.until(lambda: len(memory.failures) == 2)
    assert world.value("s.update_rejected") == 1
    memory.refuse = "not that one"
    replace(path, text("3", "a"))
    world.until(lambda: len(memory.failures) == 3)
    assert memory.failures[2] == (UPDATE_REJECTED, "not that one")
    assert memory.states == [(["a"], "1")]
    memory.refuse = ""
    replace(path, text("4"))
    world.until(lambda: len(memory.states) == 2)
    assert memory.states[1] == ([], "4")
    assert world.value("s.update_attempt") == 5


def test_other_types_are_refused(world: World, tmp_path: Path) -> None:
    path = tmp_path / "cds.json"
    path.write_text('{"resources": [{"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"}]}')
    _, memory = world.subscribe({"path": str(path)}, CLUSTER)
    assert len(memory.failures) == 1


def test_nothing_after_the_end(world: World, tmp_path: Path) -> None:
    path = tmp_path / "cds.yaml"
    path.write_text(text("1", "a"))
    subscription, memory = world.subscribe({"path": str(path)}, CLUSTER)
    world.run(subscription.close)
    replace(path, text("2", "a"))
    world.idle(0.2)
    assert len(memory.states) == 1
