"""Values for filter state, made from format strings: what both `set_filter_state` filters configure.

Source: `envoy.extensions.filters.common.set_filter_state.v3`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.access_log.format_string import parse_format_string
from outrider.data.filter_state import StringState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outrider.access_log.context import FormatContext
    from outrider.access_log.formatter import LineFormatter
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

# Kinds of objects that are made from a text and that somebody reads here: formatters and matchers read any string.
_FACTORIES: Final = frozenset((
    "envoy.string", "envoy.hashable_string", "envoy.tcp_proxy.cluster", "envoy.tcp_proxy.disable_tunneling",
    "envoy.tcp_proxy.per_connection_idle_timeout_ms", "envoy.upstream.dynamic_host", "envoy.upstream.dynamic_port",
    "envoy.network.transport_socket.original_dst_address", "envoy.network.upstream_server_name",
    "envoy.network.upstream_subject_alt_names", "envoy.network.application_protocols",
))  # fmt: skip


class FilterStateValue:
    """One FilterStateValue message."""

    __slots__ = ("key", "formatter", "skip_if_empty")

    def __init__(self, key: str, formatter: LineFormatter, skip_if_empty: bool) -> None:
        self.key = key
        self.formatter = formatter
        self.skip_if_empty = skip_if_empty


def parse_values(views: Sequence[View], context: FactoryContext) -> list[FilterStateValue]:
    """Raises ConfigError. `shared_with_upstream` is not read: nothing is shared with upstream connections."""
    made: list[FilterStateValue] = []
    for view in views:
        key = view.text("object_key")
        factory = view.text("factory_key") or key
        if factory not in _FACTORIES:
            raise view.error(f"'{factory}' does not have an object factory")
        text = view.message("format_string")
        if text is None:
            raise view.error("value is required", "format_string")
        # Nothing here changes an object once it is stored, so all of them are read-only.
        view.accept("read_only")
        made.append(FilterStateValue(key, parse_format_string(text, context).formatter, view.flag("skip_if_empty")))
    return made


def update(
    state: dict[str, object] | None, values: list[FilterStateValue], context: FormatContext
) -> dict[str, object] | None:
    """Store the values, in order; gives the state, made if need be."""
    for value in values:
        text = value.formatter.format_bytes(context).decode("utf-8", "surrogateescape")
        if text or not value.skip_if_empty:
            if state is None:
                state = {}
            state[value.key] = StringState(text)
    return state
