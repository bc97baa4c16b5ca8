"""One scope of scoped routes, and what a ScopedRoutes message itself says: how keys are built, and scopes in place."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from outrider.config.discovered import pack, stamp
from outrider.config.errors import ConfigError
from outrider.router.config.route_config import RouteConfig
from outrider.router.rds import RouteDiscovery, find_routes
from outrider.router.route_provider import RouteHolder
from outrider.router.scope_keys import HeaderFragment, ScopeKeyBuilder, ScopeTable, join_key

if TYPE_CHECKING:
    from outrider.config.init_manager import InitManager
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

SCOPED_ROUTE_CONFIGURATION: Final = "envoy.config.route.v3.ScopedRouteConfiguration"


class Scope:
    """One scope: its key, and where its routes come from."""

    def __init__(self, name: str, view: View, packed: bytes, context: FactoryContext) -> None:
        """Raises ConfigError. Subscribes to nothing yet."""
        self.name = name
        self.packed = packed
        self.context = context.owned_by([])
        self.on_demand: bool = view.flag("on_demand")
        key = view.message("key")
        fragments = key.messages("fragments") if key is not None else []
        self.key: bytes = join_key([fragment.text("string_key").encode() for fragment in fragments])
        self.route_name: str = view.text("route_configuration_name")
        self.routes: RouteDiscovery | None = None
        self.holder = RouteHolder()
        own = view.message("route_configuration")
        if own is not None:
            self.holder.replace(RouteConfig.from_view(own, self.context, False))
        elif not self.route_name:
            raise ConfigError("route_configuration_name is empty.")
        self.in_place: bool = own is not None

    def ask(
        self, source: View, stat_prefix: str, on_update: Callable[[], None], init_manager: InitManager | None
    ) -> None:
        """Subscribe to the routes, once. Raises ConfigError."""
        if self.routes is not None or self.in_place:
            return
        context = self.context.owned_by(self.context.on_close)
        context.init_manager = init_manager
        self.routes = find_routes(context, source, self.route_name, stat_prefix)
        self.holder = self.routes.holder
        self.routes.use(context, on_update)

    def close(self) -> None:
        callbacks = self.context.on_close
        self.context.on_close = []
        for callback in callbacks:
            callback()


def read_scope_list(view: View, context: FactoryContext, name: str) -> ScopeTable:
    listed = view.message("scoped_route_configurations_list")
    assert listed is not None
    # All routes are in place.
    view.accept("rds_config_source")
    holders: dict[bytes, RouteHolder] = {}
    names: dict[bytes, str] = {}
    configs = listed.messages("scoped_route_configurations")
    for each in configs:
        if each.text("route_configuration_name"):
            raise each.error(
                "Fetching routes via RDS (route_configuration_name) is not supported with inline scoped routes.",
                "route_configuration_name",
            )
        scope = Scope(each.text("name"), each, b"", context)
        if scope.key in holders:
            raise each.error(
                f"scope key conflict found, first scope is '{names[scope.key]}', second scope is '{scope.name}'"
            )
        holders[scope.key] = scope.holder
        names[scope.key] = scope.name
    table = ScopeTable()
    table.replace(holders)
    if context.config_tracker is not None:
        dump = _InlineDump(name, [each.message_bytes() for each in configs])
        context.on_close.append(context.config_tracker.add("scoped_routes", dump.show))
    return table


class _InlineDump:
    """A list of scopes in /config_dump."""

    def __init__(self, name: str, packed: list[bytes]) -> None:
        self.name = name
        self.packed = packed
        self.updated = time.time()

    def show(self, dump: Any, matches: Callable[[str], bool]) -> None:
        if not matches(self.name):
            return
        entry = dump.inline_scoped_route_configs.add()
        entry.name = self.name
        for packed in self.packed:
            pack(entry.scoped_route_configs.add(), SCOPED_ROUTE_CONFIGURATION, packed)
        stamp(entry.last_updated, self.updated)


def read_key_builder(view: View) -> ScopeKeyBuilder:
    builder = view.message("scope_key_builder")
    assert builder is not None
    fragments: list[HeaderFragment] = []
    for fragment in builder.messages("fragments"):
        extractor = fragment.message("header_value_extractor")
        if extractor is None:
            raise fragment.error("a fragment needs a header_value_extractor")
        name = extractor.text("name").lower().encode()
        separator = extractor.text("element_separator").encode()
        kind = extractor.which("extract_type")
        if kind == "element":
            element = extractor.message("element")
            assert element is not None
            fragments.append(
                HeaderFragment(name, separator, -1, element.text("separator").encode(), element.text("key").encode())
            )
        elif kind == "index":
            index = extractor.integer("index")
            if index and not separator:
                raise extractor.error("Index > 0 for empty string element separator.", "index")
            fragments.append(HeaderFragment(name, separator, index))
        else:
            raise extractor.error("HeaderValueExtractor extract_type not set")
    return ScopeKeyBuilder(fragments)
