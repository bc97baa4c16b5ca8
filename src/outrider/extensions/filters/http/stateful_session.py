"""envoy.filters.http.stateful_session: keeps a client on the host that served it before.

Source: Envoy documentation, "Stateful session".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.filter_state import StringState
from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.extensions.http.stateful_session.session_state import SESSION_STATES, SessionState
from outrider.http.filter import HEADERS_CONTINUE, HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.router.load_balancing import OVERRIDE_HOST_KEY

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_TYPE: Final = "envoy.extensions.filters.http.stateful_session.v3.StatefulSession"


class SessionSettings:
    """`state` is None where sessions are switched off."""

    __slots__ = ("state", "strict")

    def __init__(self, state: SessionState | None, strict: bool) -> None:
        self.state = state
        self.strict = strict


class StatefulSessionFilter(HttpFilter):
    _state: SessionState | None = None
    _address: str = ""

    def __init__(self, settings: SessionSettings) -> None:
        self.settings = settings

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        settings = self.settings
        manager = self.manager
        route = manager.route()
        if route is not None:
            special = route.per_filter_config(self.config_name)
            if isinstance(special, SessionSettings):
                settings = special
        state = settings.state
        if state is None or not state.applies(headers):
            return HEADERS_CONTINUE
        self._state = state
        self._address = state.address(headers)
        if self._address:
            info = manager.stream_info
            if info.filter_state is None:
                info.filter_state = {}
            info.filter_state[OVERRIDE_HOST_KEY] = StringState(("!" if settings.strict else "") + self._address)
        return HEADERS_CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        upstream = self.manager.stream_info.upstream
        if self._state is not None and upstream is not None and upstream.host_address is not None:
            address = upstream.host_address.text
            if address != self._address:
                self._state.update(address, headers)
        return HEADERS_CONTINUE


class StatefulSessionFactory(HttpFilterFactory):
    def __init__(self, settings: SessionSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return StatefulSessionFilter(self.settings)


def parse_settings(config: View, context: FactoryContext) -> SessionSettings:
    """`stat_prefix` and `status_on_strict_destination_not_found` are not read. Raises ConfigError."""
    state = config.message("session_state")
    made = None if state is None else SESSION_STATES.create(state, context)
    return SessionSettings(made, config.flag("strict"))


@HTTP_FILTERS.register("envoy.filters.http.stateful_session", _TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    return StatefulSessionFactory(parse_settings(config, context))


@route_config("envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute")
def create_for_route(config: View, context: FactoryContext) -> object:
    if config.which("override") == "disabled":
        config.flag("disabled")
        return SessionSettings(None, False)
    inner = config.message("stateful_session")
    if inner is None:
        raise config.error("override is required: disabled or stateful_session")
    return parse_settings(inner, context)
