"""Header mutations of several levels, in Envoy's order.

Source: Envoy documentation, "HTTP header manipulation": weighted cluster first, then route, virtual host, route
configuration, so that the last, least specific one wins; `most_specific_header_mutations_wins` turns the latter three
around.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.router.config.policy_loader import load_edits

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.http.header_mutation import HeaderParser


class LevelEdits:
    """Request and response edits of one level; None where there is nothing to do."""

    __slots__ = ("request", "response")

    def __init__(self, request: HeaderParser | None, response: HeaderParser | None) -> None:
        self.request = request
        self.response = response


NO_EDITS = LevelEdits(None, None)


def load_level(view: View, present: set[str]) -> LevelEdits:
    """The edits of a route, virtual host, route configuration or weighted cluster. Raises ConfigError."""
    return LevelEdits(_load(view, present, "request"), _load(view, present, "response"))


def _load(view: View, present: set[str], side: str) -> HeaderParser | None:
    add = f"{side}_headers_to_add"
    remove = f"{side}_headers_to_remove"
    if add not in present and remove not in present:
        return None
    parser = load_edits(view, view.messages(add), view.texts(remove), remove)
    return None if parser.empty else parser


def request_order(levels: list[LevelEdits], most_specific_wins: bool) -> list[HeaderParser]:
    """`levels`: most specific first."""
    ordered = list(reversed(levels)) if most_specific_wins else levels
    return [level.request for level in ordered if level.request is not None]


def response_order(levels: list[LevelEdits], most_specific_wins: bool) -> list[HeaderParser]:
    ordered = list(reversed(levels)) if most_specific_wins else levels
    return [level.response for level in ordered if level.response is not None]
