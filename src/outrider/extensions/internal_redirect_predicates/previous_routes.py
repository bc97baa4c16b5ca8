"""envoy.internal_redirect_predicates.previous_routes: a route sends a request to another route once only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.data.filter_state import FilterStateObject
from outrider.router.config.internal_redirect import (
    INTERNAL_REDIRECT_PREDICATES,
    InternalRedirectPredicate,
    InternalRedirectPredicateFactory,
)

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.stream_info import StreamInfo
    from outrider.factory_context import FactoryContext


class PreviousRoutesState(FilterStateObject):
    """Where the redirects of one route have led; kept in the request's filter state."""

    __slots__ = ("routes",)

    def __init__(self) -> None:
        self.routes: set[str] = set()


class PreviousRoutes(InternalRedirectPredicate):
    name = "envoy.internal_redirect_predicates.previous_routes"

    def __init__(self, current_route_name: str) -> None:
        self.key = f"envoy.internal_redirect.previous_routes_predicate_state.{current_route_name}"

    def accept_target_route(
        self, info: StreamInfo, target_route_name: str, downstream_is_https: bool, target_is_https: bool
    ) -> bool:
        states = info.filter_state
        if states is None:
            states = {}
            info.filter_state = states
        state = states.get(self.key)
        if not isinstance(state, PreviousRoutesState):
            state = PreviousRoutesState()
            states[self.key] = state
        if target_route_name in state.routes:
            return False
        state.routes.add(target_route_name)
        return True


class PreviousRoutesFactory(InternalRedirectPredicateFactory):
    def create(self, current_route_name: str) -> InternalRedirectPredicate:
        return PreviousRoutes(current_route_name)


@INTERNAL_REDIRECT_PREDICATES.register(
    "envoy.internal_redirect_predicates.previous_routes",
    "envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig",
)
def create(config: View, context: FactoryContext) -> InternalRedirectPredicateFactory:
    return PreviousRoutesFactory()
