"""envoy.filters.network.redis_proxy: configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.config.data_source import read_data_source
from outrider.extensions.clusters.redis import (
    READ_ANY,
    READ_MASTER,
    READ_PREFER_MASTER,
    READ_PREFER_REPLICA,
    READ_REPLICA,
)
from outrider.extensions.filters.network.redis_proxy import commands
from outrider.extensions.filters.network.redis_proxy.filter import RedisFilter
from outrider.extensions.filters.network.redis_proxy.settings import (
    Mirror,
    RedisFault,
    RedisRoute,
    RedisRoutes,
    RedisSettings,
    RedisStats,
)
from outrider.extensions.filters.network.redis_proxy.splitter import Splitter
from outrider.matching.runtime_fraction import RuntimeFraction, runtime_fraction
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.network.filter import NetworkFilter

READ_POLICIES: Final = {
    "MASTER": READ_MASTER, "PREFER_MASTER": READ_PREFER_MASTER, "REPLICA": READ_REPLICA,
    "PREFER_REPLICA": READ_PREFER_REPLICA, "ANY": READ_ANY,
}  # fmt: skip
TYPE: Final = "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy"


class RedisProxyFactory(NetworkFilterFactory):
    """Makes the filter of each connection."""

    is_terminal = True

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings
        self.splitter = Splitter(settings)

    def create(self) -> NetworkFilter:
        return RedisFilter(self.settings, self.splitter)


@NETWORK_FILTERS.register("envoy.filters.network.redis_proxy", TYPE, "envoy.redis_proxy")
def create(config: View, context: FactoryContext) -> NetworkFilterFactory:
    """Raises ConfigError."""
    scope = context.root_scope.scope(f"redis.{config.text('stat_prefix')}.")
    settings = RedisSettings(RedisStats(scope), scope, context.cluster_manager, context.dispatcher)
    _read_pool(config, settings)
    for name in config.texts("custom_commands"):
        settings.kinds.setdefault(name.lower().encode(), commands.SIMPLE)
    settings.count_commands(config.flag("latency_in_micros"))
    routes = config.message("prefix_routes")
    if routes is None:
        raise config.error("A redis_proxy without any route does not make sense.", "prefix_routes")
    _read_routes(routes, settings, context)
    for each in config.messages("faults"):
        settings.faults.append(_read_fault(each, context))
    password = config.message("downstream_auth_password")
    if password is not None:
        settings.passwords.append(read_data_source(password))
    settings.passwords += [read_data_source(each) for each in config.messages("downstream_auth_passwords")]
    settings.passwords = [each for each in settings.passwords if each]
    username = config.message("downstream_auth_username")
    if username is not None:
        settings.username = read_data_source(username)
    # RESP2 is the only one spoken; RESP3 stays unread, and so refused.
    if config.enum("protocol_version") != "RESP3":
        config.accept("protocol_version")
    return RedisProxyFactory(settings)


def _read_pool(config: View, settings: RedisSettings) -> None:
    view = config.message("settings")
    if view is None:
        raise config.error("value is required", "settings")
    pool = settings.pool_settings
    pool.op_timeout_ms = view.millis("op_timeout") or 0
    pool.hashtagging = view.flag("enable_hashtagging")
    pool.redirection = view.flag("enable_redirection")
    pool.max_unknown = view.integer("max_upstream_unknown_connections", pool.max_unknown)
    pool.command_stats = view.flag("enable_command_stats")
    # What one turn of the loop sends to a server goes out together in any case, and never later than that.
    view.accept("max_buffer_size_before_flush", "buffer_flush_timeout")
    pool.read_policy = READ_POLICIES.get(view.enum("read_policy"), -1)
    if pool.read_policy < 0:
        raise view.error(f"{view.enum('read_policy')} is not supported by this version of outrider", "read_policy")


def _fraction(view: View | None, context: FactoryContext) -> RuntimeFraction | None:
    return None if view is None else runtime_fraction(view, context.runtime)


def _read_routes(view: View, settings: RedisSettings, context: FactoryContext) -> None:
    insensitive = view.flag("case_insensitive")
    routes: list[RedisRoute] = []
    known: set[bytes] = set()
    for each in view.messages("routes"):
        route = _read_route(each, context)
        key = route.prefix.lower() if insensitive else route.prefix
        if key in known:
            raise each.error(f"prefix `{route.prefix.decode()}` already exists.", "prefix")
        known.add(key)
        routes.append(route)
    catch_all = view.message("catch_all_route")
    settings.routes = RedisRoutes(routes, None if catch_all is None else _read_route(catch_all, context), insensitive)


def _read_route(view: View, context: FactoryContext) -> RedisRoute:
    route = RedisRoute(view.text("prefix").encode(), view.text("cluster"))
    route.remove_prefix = view.flag("remove_prefix") and bool(route.prefix)
    text = view.text("key_formatter")
    if text:
        if text.count("%") != 2 * text.count("%KEY%"):
            raise view.error("only %KEY% is supported by this version of outrider", "key_formatter")
        route.key_format = text.encode()
    route.rewrites = route.remove_prefix or bool(route.key_format)
    reads = view.message("read_command_policy")
    if reads is not None:
        route.read_cluster = reads.text("cluster")
    for each in view.messages("request_mirror_policy"):
        fraction = _fraction(each.message("runtime_fraction"), context)
        route.mirrors.append(Mirror(fraction, each.text("cluster"), each.flag("exclude_read_commands")))
    return route


def _read_fault(view: View, context: FactoryContext) -> RedisFault:
    fraction = _fraction(view.message("fault_enabled"), context)
    names = frozenset(name.lower().encode() for name in view.texts("commands"))
    return RedisFault(fraction, view.enum("fault_type") == "ERROR", view.millis("delay") or 0, names)
