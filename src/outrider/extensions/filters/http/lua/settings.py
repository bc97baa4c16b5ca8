"""Configuration of the Lua filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.config.data_source import read_data_source
from outrider.extensions.filters.http.lua.filter import LuaFilter
from outrider.extensions.filters.http.lua.script import Script, ScriptError
from outrider.extensions.filters.http.lua.stats import StatsFacts
from outrider.http.filter import HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.router.async_client import AsyncClient

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.http.lua.v3.Lua"
ROUTE_TYPE: Final = "envoy.extensions.filters.http.lua.v3.LuaPerRoute"


class LuaSettings:
    """One configured filter. Raises ConfigError."""

    __slots__ = ("client", "script", "scripts", "clear_route_cache", "context", "stats", "errors", "executions")

    def __init__(self, config: View, context: FactoryContext) -> None:
        self.client = AsyncClient(context)
        self.script: Script | None = None
        # By the name that routes know them by.
        self.scripts: dict[str, Script] = {}
        self.clear_route_cache = config.flag("clear_route_cache", True)
        self.context: dict[str, object] = config.struct("filter_context") or {}
        prefix = config.text("stat_prefix")
        scope = context.scope.scope(f"lua.{prefix}." if prefix else "lua.")
        self.stats = StatsFacts(scope)
        self.errors = scope.counter("errors")
        self.executions = scope.counter("executions")
        paths, cpaths = config.texts("package_paths"), config.texts("package_cpaths")
        inline = config.text("inline_code")
        source = config.message("default_source_code")
        if source is not None:
            if inline:
                raise config.error(
                    "Error: Only one of `inline_code` or `default_source_code` can be set for the Lua filter."
                )
            self.script = load(source, read_data_source(source), paths, cpaths, context)
        elif inline:
            self.script = load(config, inline.encode("utf-8", "surrogateescape"), paths, cpaths, context)
        for name, view in config.message_map("source_codes").items():
            self.scripts[name] = load(view, read_data_source(view), paths, cpaths, context)


class LuaRoute:
    """LuaPerRoute: nothing, a named script, or one of its own."""

    __slots__ = ("disabled", "name", "script", "context")

    def __init__(self, disabled: bool, name: str, script: Script | None, context: dict[str, object] | None) -> None:
        self.disabled = disabled
        self.name = name
        self.script = script
        self.context = context


class LuaFilterFactory(HttpFilterFactory):
    def __init__(self, settings: LuaSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return LuaFilter(self.settings)


def load(view: View, code: bytes, paths: list[str], cpaths: list[str], context: FactoryContext) -> Script:
    """A machine for the script. Raises ConfigError."""
    try:
        made = Script(code, paths, cpaths)
    except ScriptError as error:
        raise view.error(f"script load error: {error}") from None
    context.root_scope.gauge("lua.lua_vm_count").inc()
    return made


@HTTP_FILTERS.register("envoy.filters.http.lua", TYPE, "envoy.lua")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return LuaFilterFactory(LuaSettings(config, context))


@route_config(ROUTE_TYPE)
def create_for_route(config: View, context: FactoryContext) -> LuaRoute:
    """Raises ConfigError."""
    values = config.struct("filter_context")
    kind = config.which("override")
    if kind == "disabled":
        if not config.flag("disabled"):
            raise config.error("value must equal true", "disabled")
        return LuaRoute(True, "", None, values)
    paths, cpaths = config.texts("package_paths"), config.texts("package_cpaths")
    if kind == "name":
        name = config.text("name")
        if not name:
            raise config.error("value length must be at least 1 characters", "name")
        return LuaRoute(False, name, None, values)
    source = config.message("source_code")
    script = None if source is None else load(source, read_data_source(source), paths, cpaths, context)
    return LuaRoute(False, "", script, values)
