"""`xdstp://` names."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.xds.node import node_context
from outrider.xds.xdstp import glob_of, normal_name, parse_xdstp
from tests.xds.fakes import ENDPOINT, Scene, assignment, delta_response, pack, response, wrapper

NAME = f"xdstp://authority.example/{ENDPOINT}/folder/a"


def test_parts() -> None:
    name = parse_xdstp(f"xdstp://auth/{ENDPOINT}/folder/one%20two?b=2&a=1%26#fragment")
    assert (name.authority, name.type_name, name.identifier) == ("auth", ENDPOINT, "folder/one two")
    assert name.parameters == {"a": "1&", "b": "2"}
    assert str(name) == f"xdstp://auth/{ENDPOINT}/folder/one two?a=1%26&b=2"
    assert not name.is_glob
    assert parse_xdstp(f"xdstp:///{ENDPOINT}/*").is_glob


@pytest.mark.parametrize("name", ["xdstp://", "xdstp://auth", "xdstp://auth/", f"xdstp://a/{ENDPOINT}/x?y"])
def test_malformed(name: str) -> None:
    with pytest.raises(ConfigError):
        parse_xdstp(name)
    assert glob_of(name) is None


def test_normal_form_and_globs() -> None:
    assert normal_name("plain?b&a") == "plain?b&a"
    assert normal_name(NAME + "?b=2&a=1") == NAME + "?a=1&b=2"
    assert glob_of("plain") is None
    assert glob_of(NAME + "?b=2&a=1") == f"xdstp://authority.example/{ENDPOINT}/folder/*?a=1&b=2"
    assert glob_of(f"xdstp://a/{ENDPOINT}/x") == f"xdstp://a/{ENDPOINT}/*"


def test_names_are_asked_for_and_found_in_their_normal_form() -> None:
    scene = Scene()
    subscription, memory = scene.subscribe(ENDPOINT)
    subscription.start([NAME + "?b=2&a=1"])
    scene.mux.start()
    assert list(scene.requests()[0].resource_names) == [NAME + "?a=1&b=2"]
    scene.answer(response(ENDPOINT, "v", "n", pack(wrapper(NAME + "?b=2&a=1", "1", assignment("x")))))
    assert len(memory.states) == 1


@pytest.mark.parametrize("delta", [False, True])
def test_a_glob_gets_all_of_its_folder(delta: bool) -> None:
    scene = Scene(delta=delta)
    glob = f"xdstp://authority.example/{ENDPOINT}/folder/*"
    subscription, memory = scene.subscribe(ENDPOINT)
    subscription.start([glob])
    other, other_memory = scene.subscribe(ENDPOINT)
    other.start(["plain"])
    scene.mux.start()
    wrappers = [wrapper(NAME, "1", assignment("a")), wrapper(NAME + "2", "1", assignment("b"))]
    if delta:
        scene.answer(delta_response(ENDPOINT, "v", "n", *wrappers))
        assert memory.deltas == [([NAME, NAME + "2"], [], "v")]
        scene.answer(delta_response(ENDPOINT, "v", "n", removed=(NAME,)))
        assert memory.deltas[1] == ([], [NAME], "v")
    else:
        scene.answer(response(ENDPOINT, "v", "n", *(pack(each) for each in wrappers)))
        assert memory.states == [([NAME, NAME + "2"], "v")]
    assert other_memory.states == [] and other_memory.deltas == []


def test_collections_carry_what_is_chosen_of_the_node() -> None:
    node: Any = api.new("envoy.config.core.v3.Node")
    node.id = "n1"
    node.locality.zone = "z"
    node.metadata.fields["team"].string_value = "t"
    node.metadata.fields["n"].number_value = 1
    node.user_agent_build_version.version.major_number = 1
    names = ["id", "locality.zone", "metadata", "user_agent_build_version.version", "no such thing"]
    scene = Scene()
    scene.mux.context_params = node_context(node, names)
    subscription, _ = scene.subscribe(ENDPOINT)
    subscription.start([f"xdstp://a/{ENDPOINT}/f/*?b=2&xds.node.id=mine", f"xdstp://a/{ENDPOINT}/f/one"])
    scene.mux.start()
    assert list(scene.requests()[0].resource_names) == [
        f"xdstp://a/{ENDPOINT}/f/*?b=2&xds.node.id=mine&xds.node.locality.zone=z&xds.node.metadata.n=1"
        '&xds.node.metadata.team="t"&xds.node.user_agent_build_version.version=1.0.0',
        f"xdstp://a/{ENDPOINT}/f/one",
    ]
