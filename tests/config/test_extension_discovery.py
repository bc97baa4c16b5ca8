"""Filters whose configuration is discovered (ECDS)."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.router.config.support import make_context, view_of
from tests.support.subscriptions import FakeSubscriptions

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.init_manager import InitManager
from outrider.config.subscription import FETCH_TIMEOUT
from outrider.config.support import SupportPolicy
from outrider.extensions.all_extensions import load_extensions
from outrider.factory_context import FactoryContext
from outrider.http.filter_chain import HttpFilterChain
from outrider.http.filter_discovery import MissingConfigFilter
from outrider.http.filter_registry import build_http_filter_chain
from outrider.network.filter_discovery import discover_listener_filter
from outrider.network.filter_registry import build_filter_chain
from outrider.server.admin.config_tracker import ECDS_FILTERS, ConfigTracker

load_extensions()

URL = "type.googleapis.com/"
BUFFER = "envoy.extensions.filters.http.buffer.v3.Buffer"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"
ECHO = "envoy.extensions.filters.network.echo.v3.Echo"
DIRECT = "envoy.extensions.filters.network.direct_response.v3.Config"
INSPECTOR = "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ADS: dict[str, Any] = {"ads": {}, "resource_api_version": "V3"}


def context_of(subscriptions: FakeSubscriptions | None) -> FactoryContext:
    context = make_context()
    context.subscriptions = subscriptions
    context.support = SupportPolicy()
    context.config_tracker = ConfigTracker()
    return context


def discovery(*types: str, **more: Any) -> dict[str, Any]:
    return {"config_source": ADS, "type_urls": [URL + each for each in types], **more}


def buffer(size: int) -> dict[str, Any]:
    return {"@type": URL + BUFFER, "max_request_bytes": size}


def chain(context: FactoryContext, *types: str, **more: Any) -> HttpFilterChain:
    """A chain of a discovered filter and the router."""
    filters = [
        {"name": "dynamic", "config_discovery": discovery(*(types or (BUFFER,)), **more)},
        {"name": "router", "typed_config": {"@type": URL + ROUTER}},
    ]
    view = view_of(HCM, {"http_filters": filters})
    made = build_http_filter_chain(view.messages("http_filters"), context, "http")
    assert view.unread() == []
    return made


def limit(made: HttpFilterChain) -> int | None:
    """What the first filter of a new stream was configured with; None: it stands for a missing configuration."""
    http_filter = cast(Any, made.entries[0].factory.create())
    return None if isinstance(http_filter, MissingConfigFilter) else http_filter.settings.max_bytes


def extension(size: int, name: str = "dynamic") -> dict[str, Any]:
    return {"name": name, "typed_config": buffer(size)}


def counter(context: FactoryContext, name: str) -> int:
    return context.root_scope.counter(f"extension_config_discovery.http_filter.dynamic.{name}").value


def test_filter_comes_changes_and_goes() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    made = chain(context)
    [subscription] = subscriptions.made
    assert subscription.names == ["dynamic"] and limit(made) is None
    subscription.send(extension(5))
    assert limit(made) == 5 and counter(context, "config_reload") == 1
    subscription.send(extension(5))
    assert counter(context, "config_reload") == 1
    subscription.send(extension(6))
    assert limit(made) == 6 and counter(context, "config_reload") == 2
    subscription.send_delta(removed=["dynamic"])
    assert limit(made) is None


@pytest.mark.parametrize(
    ("trees", "text"),
    [
        ([], "Unexpected number of resources in ExtensionConfigDS response: 0"),
        ([extension(5, "other")], "Unexpected resource name in ExtensionConfigDS response: other"),
        ([{"name": "dynamic", "typed_config": {"@type": URL + ROUTER}}], f"Error: filter config has type URL {ROUTER} but expect {BUFFER}."),
    ],
)  # fmt: skip
def test_refused_and_the_old_stays(trees: list[dict[str, Any]], text: str) -> None:
    subscriptions = FakeSubscriptions()
    made = chain(context_of(subscriptions))
    subscriptions.made[0].send(extension(5))
    with pytest.raises(ConfigError) as caught:
        subscriptions.made[0].send(*trees)
    assert text in str(caught.value) and limit(made) == 5


def test_terminal_filter_in_the_wrong_place() -> None:
    subscriptions = FakeSubscriptions()
    made = chain(context_of(subscriptions), BUFFER, ROUTER)
    with pytest.raises(ConfigError, match="Error: terminal filter named dynamic"):
        subscriptions.made[0].send({"name": "dynamic", "typed_config": {"@type": URL + ROUTER}})
    assert limit(made) is None
    with pytest.raises(ConfigError, match="Error: terminal filter named dynamic"):
        chain(context_of(subscriptions), ROUTER, default_config={"@type": URL + ROUTER})


def test_default_until_then_and_after() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    context.init_manager = InitManager("listener")
    made = chain(context, default_config=buffer(1))
    context.init_manager.initialize(lambda: None)
    assert not context.init_manager.initialized and limit(made) == 1
    subscriptions.made[0].send(extension(5))
    assert context.init_manager.initialized and limit(made) == 5
    subscriptions.made[0].send_delta(removed=["dynamic"])
    assert limit(made) == 1


def test_default_without_warming() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    context.init_manager = InitManager("listener")
    made = chain(context, default_config=buffer(1), apply_default_config_without_warming=True)
    assert not subscriptions.made[0].started
    context.init_manager.initialize(lambda: None)
    assert subscriptions.made[0].started and context.init_manager.initialized and limit(made) == 1


def test_failure_ends_the_wait() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    context.init_manager = InitManager("listener")
    chain(context)
    context.init_manager.initialize(lambda: None)
    assert context.init_manager.unready() == ["FilterConfigSubscription init dynamic"]
    subscriptions.made[0].callbacks.on_failed(FETCH_TIMEOUT, "")
    assert context.init_manager.initialized and counter(context, "config_fail") == 1


def test_refused_at_load() -> None:
    context = context_of(FakeSubscriptions())
    with pytest.raises(ConfigError, match="Error: no factory found for a required type URL"):
        chain(context, "envoy.Nothing")
    with pytest.raises(ConfigError, match="applied without warming but has no default config"):
        chain(context, apply_default_config_without_warming=True)
    with pytest.raises(ConfigError, match="but expect"):
        chain(context, BUFFER, default_config={"@type": URL + ROUTER})


def test_shared_by_places_that_ask_for_the_same() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    first, second = chain(context), chain(context)
    assert len(subscriptions.made) == 1
    subscriptions.made[0].send(extension(5))
    assert limit(first) == limit(second) == 5
    assert limit(chain(context)) == 5
    # One that cannot use what is there.
    third = chain(context, "envoy.extensions.filters.http.cors.v3.Cors")
    assert limit(third) is None and counter(context, "config_conflict") == 1
    with pytest.raises(ConfigError, match="but expect"):
        subscriptions.made[0].send(extension(7))
    assert limit(first) == 5
    for callback in context.on_close:
        callback()
    assert subscriptions.made[0].closed


def test_network_filter() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    view = view_of("envoy.config.listener.v3.FilterChain", {"filters": [{"name": "n", "config_discovery": discovery(ECHO, DIRECT)}]})
    [factory] = build_filter_chain(view.messages("filters"), context)
    assert not factory.available()
    subscriptions.made[0].send({"name": "n", "typed_config": {"@type": URL + ECHO}})
    assert factory.available() and type(factory.create()).__name__ == "Echo"
    assert context.root_scope.counter("extension_config_discovery.network_filter.n.config_reload").value == 1
    subscriptions.made[0].send_delta(removed=["n"])
    assert not factory.available()
    more = [{"name": "n", "config_discovery": discovery(ECHO)}, {"name": "m", "typed_config": {"@type": URL + ECHO}}]
    build_filter_chain(view_of("envoy.config.listener.v3.FilterChain", {"filters": more}).messages("filters"), context)
    with pytest.raises(ConfigError, match="Error: terminal filter named n"):
        subscriptions.made[0].send({"name": "n", "typed_config": {"@type": URL + ECHO}})


def test_listener_filter() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    context.listener_scope = context.root_scope.scope("listener.x")
    view = view_of("envoy.config.listener.v3.ListenerFilter", {"name": "n", "config_discovery": discovery(INSPECTOR)})
    factory = discover_listener_filter(view, context)
    assert not factory.available()
    subscriptions.made[0].send({"name": "n", "typed_config": {"@type": URL + INSPECTOR}})
    assert factory.available() and type(factory.create()).__name__ == "HttpInspector"
    assert context.root_scope.counter("extension_config_discovery.tcp_listener_filter.n.config_reload").value == 1


def test_dump() -> None:
    subscriptions = FakeSubscriptions()
    context = context_of(subscriptions)
    chain(context)
    subscriptions.made[0].send(extension(5), version="v2")
    dump: Any = api.new("envoy.admin.v3.EcdsConfigDump")
    assert context.config_tracker is not None
    context.config_tracker.fill(ECDS_FILTERS[0], dump, lambda name: True)
    [entry] = dump.ecds_filters
    assert entry.version_info == "v2" and entry.ecds_filter.type_url.endswith("TypedExtensionConfig")
