"""envoy.internal_redirect_predicates.safe_cross_scheme: a request that came in the clear is not redirected to https."""

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


class SafeCrossScheme(InternalRedirectPredicate):
    name = "envoy.internal_redirect_predicates.safe_cross_scheme"

    def accept_target_route(
        self, info: StreamInfo, target_route_name: str, downstream_is_https: bool, target_is_https: bool
    ) -> bool:
        return downstream_is_https or not target_is_https


class SafeCrossSchemeFactory(InternalRedirectPredicateFactory):
    def create(self, current_route_name: str) -> InternalRedirectPredicate:
        return SafeCrossScheme()


@INTERNAL_REDIRECT_PREDICATES.register(
    "envoy.internal_redirect_predicates.safe_cross_scheme",
    "envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig",
)
def create(config: View, context: FactoryContext) -> InternalRedirectPredicateFactory:
    return SafeCrossSchemeFactory()
