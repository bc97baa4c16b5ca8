"""envoy.internal_redirect_predicates.allow_listed_routes: redirects lead to the listed routes only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.router.config.internal_redirect import (
    INTERNAL_REDIRECT_PREDICATES,
    InternalRedirectPredicate,
    InternalRedirectPredicateFactory,
)

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.stream_info import StreamInfo
    from outrider.factory_context import FactoryContext


class AllowListedRoutes(InternalRedirectPredicate):
    name = "envoy.internal_redirect_predicates.allow_listed_routes"

    def __init__(self, allowed: frozenset[str]) -> None:
        self.allowed = allowed

    def accept_target_route(
        self, info: StreamInfo, target_route_name: str, downstream_is_https: bool, target_is_https: bool
    ) -> bool:
        return target_route_name in self.allowed


class AllowListedRoutesFactory(InternalRedirectPredicateFactory):
    def __init__(self, allowed: frozenset[str]) -> None:
        self.predicate = AllowListedRoutes(allowed)

    def create(self, current_route_name: str) -> InternalRedirectPredicate:
        return self.predicate


@INTERNAL_REDIRECT_PREDICATES.register(
    "envoy.internal_redirect_predicates.allow_listed_routes",
    "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig",
)
def create(config: View, context: FactoryContext) -> InternalRedirectPredicateFactory:
    return AllowListedRoutesFactory(frozenset(config.texts("allowed_route_names")))
