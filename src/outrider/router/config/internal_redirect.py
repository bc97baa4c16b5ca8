"""Internal redirects: redirect responses from upstream that the proxy follows itself.

Source: Envoy documentation, "HTTP connection management: internal redirects".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.data.stream_info import StreamInfo


@mypyc_attr(allow_interpreted_subclasses=True)
class InternalRedirectPredicate:
    """May veto an internal redirect; made for each redirect response. `name` goes into the stat."""

    name: str = ""

    def accept_target_route(
        self, info: StreamInfo, target_route_name: str, downstream_is_https: bool, target_is_https: bool
    ) -> bool:
        return True


@mypyc_attr(allow_interpreted_subclasses=True)
class InternalRedirectPredicateFactory:
    """Makes predicates for one route."""

    def create(self, current_route_name: str) -> InternalRedirectPredicate:
        raise NotImplementedError


INTERNAL_REDIRECT_PREDICATES: Final[ExtensionRegistry[InternalRedirectPredicateFactory]] = ExtensionRegistry(
    "envoy.internal_redirect_predicates"
)


class InternalRedirectPolicy:
    """Settings of a route."""

    __slots__ = (
        "max_internal_redirects",
        "response_codes",
        "predicates",
        "allow_cross_scheme_redirect",
        "response_headers_to_copy",
    )

    def __init__(self) -> None:
        self.max_internal_redirects: int = 1
        # Responses that are followed; 302 unless configured.
        self.response_codes: list[int] = [302]
        self.predicates: list[InternalRedirectPredicateFactory] = []
        self.allow_cross_scheme_redirect: bool = False
        # Lower-case names.
        self.response_headers_to_copy: list[bytes] = []

    def should_redirect(self, status: int) -> bool:
        return status in self.response_codes
