"""`VirtualHost.matcher`: a matcher tree that leads to routes, in place of a list of routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.matching.data import MatchingData
from outrider.router.config.route_table import RouteTable

if TYPE_CHECKING:
    from outrider.data.header_map import RequestHeaderMap
    from outrider.data.stream_info import StreamInfo
    from outrider.matching.tree import MatchTree
    from outrider.router.config.route import Route


class RouteListAction:
    """What the tree leads to: one route, or a list whose first match is taken."""

    __slots__ = ("table",)

    def __init__(self, routes: list[Route]) -> None:
        self.table = RouteTable(routes)


class RouteMatcherTree:
    """The tree of one virtual host."""

    __slots__ = ("tree",)

    def __init__(self, tree: MatchTree) -> None:
        self.tree = tree

    def find(self, path: bytes, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> Route | None:
        action = self.tree.evaluate(MatchingData(info, headers))
        if isinstance(action, RouteListAction):
            return action.table.find(path, headers, info, random_value)
        return None
