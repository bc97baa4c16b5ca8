"""A listener's configuration, read and checked (`envoy.config.listener.v3.Listener`).

Main and workers build it with the same code: main to refuse what is wrong and to open the sockets, workers to serve.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from outrider.config.view import View
from outrider.data.address import KIND_INTERNAL, KIND_PIPE, Address
from outrider.network.address_config import (
    LISTENING,
    SocketAddressConfig,
    read_bind_address,
    read_keepalive,
    read_socket_options,
)
from outrider.network.chain_tree import TreeChainMatcher, read_chain_tree
from outrider.network.filter_chain import SOURCE_TYPES, FilterChain, FilterChainMatcher, MatchCriteria, OverlapError
from outrider.network.filter_discovery import discover_listener_filter
from outrider.network.filter_registry import build_filter_chain
from outrider.network.listen_socket import DEFAULT_BACKLOG, ListenSocketSettings, mptcp_available
from outrider.network.listener_filter import (
    DEFAULT_TIMEOUT_MS,
    LISTENER_FILTERS,
    ConfiguredListenerFilter,
    ListenerFilterMatcher,
)
from outrider.network.listener_filter_matcher import read_matcher
from outrider.network.transport_socket import DOWNSTREAM_TRANSPORT_SOCKETS, RAW_BUFFER, TransportSocketFactory
from outrider.network.udp_listener import UdpListenerSettings, read_udp_settings
from outrider.overload.state import OverloadState

if TYPE_CHECKING:
    from outrider.access_log.access_log import AccessLog
    from outrider.factory_context import FactoryContext
    from outrider.http.conn_manager_settings import DrainDecision
    from outrider.stats.store import Scope

_log: Final = logging.getLogger("outrider.config")

DEFAULT_BUFFER_LIMIT: Final = 1024 * 1024
TLS_INSPECTOR: Final = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"


class ListenerInfo:
    """What filters and formatters may know of the listener a connection came in by."""

    __slots__ = ("name", "direction", "metadata")

    def __init__(self, name: str, direction: str, metadata: dict[str, dict[str, object]]) -> None:
        self.name = name
        # UNSPECIFIED, INBOUND or OUTBOUND.
        self.direction = direction
        self.metadata = metadata


class ListenerConfig:
    """A checked listener with its factories; one `Listener` serves each of its addresses."""

    def __init__(
        self,
        view: View,
        context: FactoryContext,
        admin: bool = False,
        make_drain: Callable[[], DrainDecision] | None = None,
        known_chains: dict[bytes, FilterChain] | None = None,
    ) -> None:
        """Raises ConfigError. `admin`: the listener of the admin interface.

        `make_drain` gives each filter chain a drain decision of its own. `known_chains`, by their messages, are taken
        over as they are (an update in place).
        """
        self._make_drain = make_drain
        # Of a UDP listener: what it has in place of filter chains.
        self.udp: UdpListenerSettings | None = None
        # Connections come from clusters of the same process.
        self.internal: bool = False
        self._known_chains = known_chains if known_chains is not None else {}
        # Envoy gives a random UUID; here main and workers each build the listener and must agree.
        self.name: str = view.text("name") or str(uuid.uuid5(uuid.NAMESPACE_OID, view.message_bytes().hex()))
        self.view = view
        addresses = self._read_addresses(view)
        # Envoy names a listener by its address in messages and stats.
        self.title: str = addresses[0].address.text
        self.stat_prefix: str = view.text("stat_prefix") or (
            f"envoy_internal_{self.name}" if self.internal else self.title
        )
        self.scope: Scope = context.root_scope.scope(f"listener.{self.stat_prefix}")
        self.direction: str = view.enum("traffic_direction")
        self.drain_type: str = view.enum("drain_type")
        metadata = view.message("metadata")
        filter_metadata = metadata.struct_map("filter_metadata") if metadata is not None else {}
        self.info = ListenerInfo(self.name, self.direction, filter_metadata)
        self.buffer_limit: int = view.integer("per_connection_buffer_limit_bytes", DEFAULT_BUFFER_LIMIT)
        self.ignore_global_limit: bool = view.flag("ignore_global_conn_limit")
        self.bypass_overload_manager: bool = view.flag("bypass_overload_manager")
        # 0 is unlimited.
        self.max_accepts_per_event: int = view.integer("max_connections_to_accept_per_socket_event")
        timeout = view.millis("listener_filters_timeout")
        self.listener_filters_timeout_ms: int = DEFAULT_TIMEOUT_MS if timeout is None else timeout
        self.continue_on_listener_filters_timeout: bool = view.flag("continue_on_listener_filters_timeout")
        self.sockets: list[ListenSocketSettings] = self._read_sockets(view, addresses)
        # For filters: this listener's stats and direction.
        narrowed = context.with_scope(context.scope)
        narrowed.listener_scope = self.scope
        narrowed.traffic_direction = self.direction
        narrowed.drain_type = self.drain_type
        if self.bypass_overload_manager:
            narrowed.overload = OverloadState()
        narrowed.listener_info = self.info
        # What listener filters and access logs want to be told when the listener is gone; chains have their own lists.
        self.on_close: list[Callable[[], None]] = []
        narrowed.on_close = self.on_close
        if not admin:
            self.scope.counter("extension_config_missing")
            self.scope.counter("network_extension_config_missing")
        self.chains: list[FilterChain] = []
        try:
            self.access_logs: list[AccessLog] = _read_access_logs(view, narrowed)
            self.listener_filters: list[ConfiguredListenerFilter] = []
            if addresses[0].protocol == "UDP":
                self.udp = read_udp_settings(view, self.title, self.scope, narrowed)
            else:
                self.listener_filters = self._read_listener_filters(view, narrowed)
            self.matcher: FilterChainMatcher = (
                FilterChainMatcher(None) if self.udp is not None else self._read_filter_chains(view, narrowed)
            )
        except BaseException:
            # What has been built is to be let go of, but not the chains of the listener that serves.
            known = list(self._known_chains.values())
            self.chains = [chain for chain in self.chains if chain not in known]
            self.close()
            raise

    def close(self) -> None:
        """Let go of subscriptions and stats. Chains that serve on (an update in place) were taken out of `chains`."""
        callbacks = self.on_close
        self.on_close = []
        for callback in callbacks:
            callback()
        for chain in self.chains:
            chain.close()
        self.scope.close()

    def _read_addresses(self, view: View) -> list[SocketAddressConfig]:
        address = view.message("address")
        inside = view.message("internal_listener")
        if inside is not None:
            if address is not None:
                raise view.error(
                    f"error adding listener named '{view.text('name')}': address should not be used when an internal "
                    "listener config is provided",
                    "address",
                )
            self.internal = True
            return [SocketAddressConfig(Address(KIND_INTERNAL, f"{self.name}/", 0))]
        if address is None:
            raise view.error(f"error adding listener named '{view.text('name')}': address is necessary", "address")
        addresses = [read_bind_address(address)]
        for additional in view.messages("additional_addresses"):
            further = additional.message("address")
            if further is not None:
                addresses.append(read_bind_address(further))
        for each in addresses:
            if each.protocol != addresses[0].protocol:
                raise view.error(
                    f"error adding listener '{addresses[0].address.text}': has different protocols in addresses",
                    "additional_addresses",
                )
        return addresses

    def _read_sockets(self, view: View, addresses: list[SocketAddressConfig]) -> list[ListenSocketSettings]:
        bind = view.flag("bind_to_port", True)
        deprecated = view.message("deprecated_v1")
        if deprecated is not None:
            view.outdated("bind_to_port belongs into the listener itself", "deprecated_v1")
            bind = deprecated.flag("bind_to_port", bind)
        reuse_port = True
        if view.has("enable_reuse_port"):
            reuse_port = view.flag("enable_reuse_port")
        elif view.has("reuse_port"):
            view.outdated("reuse_port is deprecated, enable_reuse_port takes its place", "reuse_port")
            reuse_port = True
        view.accept("reuse_port")
        mptcp = view.flag("enable_mptcp")
        if mptcp:
            if any(each.address.kind == KIND_PIPE for each in addresses):
                raise view.error(
                    f"error adding listener '{self.title}': enable_mptcp can only be used with IP addresses",
                    "enable_mptcp",
                )
            if not mptcp_available():
                raise view.error(
                    f"error adding listener '{self.title}': enable_mptcp is set but MPTCP is not supported by the "
                    "operating system",
                    "enable_mptcp",
                )
        additional = view.messages("additional_addresses")
        settings: list[ListenSocketSettings] = []
        for index, address in enumerate(addresses):
            each = ListenSocketSettings(address)
            each.bind = bind and not self.internal
            each.reuse_port = reuse_port
            each.mptcp = mptcp
            each.backlog = view.integer("tcp_backlog_size", DEFAULT_BACKLOG)
            each.freebind = view.flag("freebind") if view.has("freebind") else None
            each.transparent = view.flag("transparent") if view.has("transparent") else None
            if view.has("tcp_fast_open_queue_length"):
                each.fast_open_queue = view.integer("tcp_fast_open_queue_length")
            own_options = additional[index - 1].message("socket_options") if index else None
            if own_options is not None:
                each.options = read_socket_options(own_options.messages("socket_options"))
            else:
                each.options = read_socket_options(view.messages("socket_options"))
            own_keepalive = additional[index - 1].message("tcp_keepalive") if index else None
            keepalive = own_keepalive if own_keepalive is not None else view.message("tcp_keepalive")
            if address.address.kind != KIND_PIPE:
                each.options = read_keepalive(keepalive) + each.options
            settings.append(each)
        for option in settings[0].options:
            if option.state == LISTENING and not bind:
                raise view.error("a socket option for the state LISTENING needs bind_to_port", "socket_options")
        return settings

    def _read_listener_filters(self, view: View, context: FactoryContext) -> list[ConfiguredListenerFilter]:
        found: list[ConfiguredListenerFilter] = []
        inspects_tls = False
        for each in view.messages("listener_filters"):
            if each.which("config_type") is None and LISTENER_FILTERS.find_by_name(each.text("name")) is None:
                raise each.error(
                    f"Didn't find a registered implementation for '{each.text('name')}' with type URL: ''", "name"
                )
            if each.which("config_type") == "config_discovery":
                factory = discover_listener_filter(each, context)
            else:
                factory = LISTENER_FILTERS.create(each, context)
            inspects_tls = inspects_tls or each.any_type("typed_config") == TLS_INSPECTOR
            inspects_tls = inspects_tls or each.text("name") == "envoy.filters.listener.tls_inspector"
            disabled: ListenerFilterMatcher | None = None
            predicate = each.message("filter_disabled")
            if predicate is not None:
                disabled = read_matcher(predicate)
            found.append(ConfiguredListenerFilter(factory, disabled))
        if not inspects_tls and any(_needs_tls_inspector(chain) for chain in view.messages("filter_chains")):
            _log.warning(
                "listener '%s': filter chain match rules require the TLS inspector listener filter, but it is not "
                "configured: without it every connection counts as plain text without a server name",
                self.title,
            )
        return found

    def _read_filter_chains(self, view: View, context: FactoryContext) -> FilterChainMatcher:
        chains = view.messages("filter_chains")
        default_view = view.message("default_filter_chain")
        if not chains and default_view is None:
            raise view.error(f"error adding listener '{self.title}': no filter chains specified", "filter_chains")
        default = self._read_chain(default_view, context) if default_view is not None else None
        if default_view is not None:
            # The default chain takes what no other wants: Envoy does not look at its match.
            default_view.accept("filter_chain_match")
        tree_view = view.message("filter_chain_matcher")
        if tree_view is not None:
            named = TreeChainMatcher(read_chain_tree(tree_view, context), default)
            return self._read_named_chains(chains, named, context)
        matcher = FilterChainMatcher(default)
        known: dict[bytes, str] = {}
        for chain_view in chains:
            name = chain_view.text("name")
            match = chain_view.message("filter_chain_match")
            key = match.message_bytes() if match is not None else b""
            if key in known:
                raise chain_view.error(
                    f"error adding listener '{self.title}': filter chain '{name}' has the same matching rules defined "
                    f"as '{known[key]}'",
                    "filter_chain_match",
                )
            known[key] = name
            criteria = self._read_criteria(match, name) if match is not None else MatchCriteria()
            chain = self._read_chain(chain_view, context)
            try:
                matcher.add(criteria, chain)
            except OverlapError as error:
                raise chain_view.error(f"error adding listener '{self.title}': {error}", "filter_chain_match") from None
            except ValueError as error:
                raise chain_view.error(f"malformed IP address: {error}", "filter_chain_match") from None
        return matcher

    def _read_named_chains(
        self, chains: list[View], matcher: TreeChainMatcher, context: FactoryContext
    ) -> FilterChainMatcher:
        """The chains by their names: a matcher tree chooses among them, instead of their own match."""
        for chain_view in chains:
            name = chain_view.text("name")
            if not name:
                raise chain_view.error(
                    f"error adding listener '{self.title}': \"name\" field is required when using a listener matcher",
                    "name",
                )
            if name in matcher.by_name:
                raise chain_view.error(
                    f"error adding listener '{self.title}': \"name\" field is duplicated with value '{name}'", "name"
                )
            if chain_view.has("filter_chain_match"):
                raise chain_view.error(
                    f"error adding listener '{self.title}': filter chain '{name}' has \"filter_chain_match\" set, "
                    "which a listener matcher does not use",
                    "filter_chain_match",
                )
            matcher.by_name[name] = self._read_chain(chain_view, context)
        return matcher

    def _read_criteria(self, match: View, name: str) -> MatchCriteria:
        if match.has("address_suffix") or match.has("suffix_len"):
            raise match.error(
                f"error adding listener '{self.title}': filter chain '{name}' contains unimplemented fields"
            )
        criteria = MatchCriteria()
        criteria.destination_port = match.integer("destination_port")
        criteria.destination_prefixes = _read_prefixes(match.messages("prefix_ranges"))
        for server_name in match.texts("server_names"):
            if "*" in server_name and not server_name.startswith("*."):
                raise match.error(
                    f"error adding listener '{self.title}': partial wildcards are not supported in \"server_names\"",
                    "server_names",
                )
            criteria.server_names.append(server_name.lower())
        criteria.transport_protocol = match.text("transport_protocol")
        criteria.application_protocols = match.texts("application_protocols")
        criteria.direct_source_prefixes = _read_prefixes(match.messages("direct_source_prefix_ranges"))
        criteria.source_type = SOURCE_TYPES[match.enum("source_type")]
        criteria.source_prefixes = _read_prefixes(match.messages("source_prefix_ranges"))
        criteria.source_ports = match.integers("source_ports")
        return criteria

    def _read_chain(self, view: View, context: FactoryContext) -> FilterChain:
        packed = view.message_bytes()
        known = self._known_chains.get(packed)
        if known is not None:
            view.take()
            self.chains.append(known)
            return known
        on_close: list[Callable[[], None]] = []
        context = context.owned_by(on_close)
        if self._make_drain is not None:
            context.drain_decision = self._make_drain()
        transport = view.message("transport_socket")
        factory: TransportSocketFactory = RAW_BUFFER
        if transport is not None:
            factory = DOWNSTREAM_TRANSPORT_SOCKETS.create(transport, context.with_scope(self.scope))
        metadata = view.message("metadata")
        chain = FilterChain(
            view.text("name"),
            factory,
            build_filter_chain(view.messages("filters"), context),
            view.millis("transport_socket_connect_timeout") or 0,
            metadata.struct_map("filter_metadata") if metadata is not None else {},
        )
        chain.on_close = on_close
        chain.packed = packed
        chain.drain = context.drain_decision
        self.chains.append(chain)
        return chain


def _read_prefixes(views: list[View]) -> list[tuple[str, int]]:
    return [(view.text("address_prefix"), view.integer("prefix_len")) for view in views]


def _read_access_logs(view: View, context: FactoryContext) -> list[AccessLog]:
    logs = view.messages("access_log")
    if not logs:
        return []
    from outrider.access_log.access_log import create_access_log

    return [create_access_log(each, context) for each in logs]


def _needs_tls_inspector(chain: View) -> bool:
    match = chain.message("filter_chain_match")
    if match is None:
        return False
    transport = match.text("transport_protocol")
    if transport:
        return transport == "tls"
    return bool(match.texts("server_names") or match.texts("application_protocols"))
