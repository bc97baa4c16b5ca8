from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from google.protobuf.message import Message

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.parse import Reader
from outrider.config.view import View
from outrider.registry import CATEGORIES, ExtensionRegistry

ROUTER = "envoy.extensions.filters.http.router.v3.Router"
BUFFER = "envoy.extensions.filters.http.buffer.v3.Buffer"
HTTP_FILTER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"


@pytest.fixture
def registry() -> Iterator[ExtensionRegistry[str]]:
    made: ExtensionRegistry[str] = ExtensionRegistry("test.category")

    @made.register("envoy.filters.http.router", ROUTER, "envoy.router")
    def router(config: View, context: object) -> str:
        return f"router {config.flag('dynamic_stats', True)} {context} at {config.path}"

    @made.register("test.by_name_only", None)
    def by_name(config: View, context: object) -> str:
        return f"named {config.text('name')}"

    yield made
    del CATEGORIES["test.category"]


def http_filter(tree: dict[str, object]) -> View:
    message: Message = api.new(HTTP_FILTER)
    reader = Reader()
    reader.read(tree, message)
    assert not reader.faults
    return View(message, "http_filters[0]")


def test_the_type_decides_not_the_name(registry: ExtensionRegistry[str]) -> None:
    view = http_filter({"name": "any name", "typed_config": {"@type": f"x/{ROUTER}", "dynamic_stats": False}})
    assert registry.create(view, "ctx") == "router False ctx at http_filters[0].typed_config"
    assert view.unread() == []


@pytest.mark.parametrize("name", ["envoy.filters.http.router", "envoy.router"])
@pytest.mark.parametrize("rest", [{}, {"typed_config": {}}])
def test_a_name_alone_gets_an_empty_configuration_and_one_warning(
    registry: ExtensionRegistry[str], name: str, rest: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    view = http_filter({"name": name, **rest})
    with caplog.at_level(logging.WARNING, "outrider.config"):
        assert registry.create(view, "ctx") == "router True ctx at http_filters[0].typed_config"
    assert [record.getMessage() for record in caplog.records] == [
        f"outdated configuration: http_filters[0].name: '{name}' without typed_config: an empty {ROUTER} is used"
    ]
    assert view.unread() == []


def test_extensions_without_a_type_are_found_by_name(
    registry: ExtensionRegistry[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert registry.create(http_filter({"name": "test.by_name_only"}), None) == "named test.by_name_only"
    assert not caplog.records


def test_what_is_not_registered_is_an_error_in_envoys_words(registry: ExtensionRegistry[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.create(http_filter({"name": "b", "typed_config": {"@type": f"x/{BUFFER}"}}), None)
    assert caught.value.text == f"Didn't find a registered implementation for 'b' with type URL: '{BUFFER}'"
    assert caught.value.path == "http_filters[0].typed_config"
    with pytest.raises(ConfigError, match="Didn't find a registered implementation for name: 'b'"):
        registry.create(http_filter({"name": "b"}), None)


def test_lookup_and_listing(registry: ExtensionRegistry[str]) -> None:
    assert registry.find(ROUTER) is registry.find(View(api.new(ROUTER)))
    assert registry.find(BUFFER) is None
    by_name = registry.find_by_name("envoy.router")
    assert by_name is not None and by_name.type_name == ROUTER
    assert [extension.name for extension in registry.all()] == ["envoy.filters.http.router", "test.by_name_only"]
    assert CATEGORIES["test.category"] is registry


def test_double_registration_is_a_fault_of_the_program(registry: ExtensionRegistry[str]) -> None:
    with pytest.raises(ValueError, match="registered twice"):
        ExtensionRegistry("test.category")
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("other", ROUTER)(lambda config, context: "")
