"""The routes of one list, found without looking at each, in configured order.

Prefixes stand sorted in one array. All prefixes of a path are the longest one and its ancestors (those prefixes of
which it is itself an extension), and the longest is an ancestor of the array's last entry not greater than the path:
one binary search, then a walk that is as long as prefixes are nested. Regular expressions stand among the prefixes, by
the literal text that they begin with. Exact paths are one hash probe. Templates are tried in order, but only those
before the best candidate found so far.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from outrider.data.header_names import UPGRADE
from outrider.router.config.path_match import (
    PATH_CONNECT,
    PATH_EXACT,
    PATH_PREFIX,
    PATH_REGEX,
    PATH_SEPARATED_PREFIX,
    PATH_TEMPLATE,
    path_only,
)

if TYPE_CHECKING:
    from outrider.data.header_map import RequestHeaderMap
    from outrider.data.stream_info import StreamInfo
    from outrider.router.config.route import Route

# Up to this many routes a plain scan is quicker than the index.
_SCAN_LIMIT: Final = 6
_FAR: Final = 1 << 60


def is_connect(headers: RequestHeaderMap) -> bool:
    """Whether `connect_matcher` takes a request: CONNECT, or CONNECT-UDP (RFC 9298), which is an upgrade here."""
    if headers.method == b"CONNECT":
        return True
    return UPGRADE in headers.single and headers.single[UPGRADE].lower() == b"connect-udp"


class _PrefixNode:
    """The routes of one prefix. `parent` is the longest other prefix that this one extends."""

    __slots__ = ("text", "size", "routes", "parent", "first")

    def __init__(self, text: bytes, parent: _PrefixNode | None) -> None:
        self.text = text
        self.size = len(text)
        self.routes: list[Route] = []
        self.parent: _PrefixNode | None = parent
        # Lowest index among these routes and those of all ancestors.
        self.first: int = _FAR


class _PathIndex:
    """Exact paths and prefixes of one kind of case."""

    __slots__ = ("exact", "texts", "nodes", "empty")

    def __init__(self, routes: list[Route], case_sensitive: bool) -> None:
        self.exact: dict[bytes, list[Route]] = {}
        by_prefix: dict[bytes, list[Route]] = {}
        for route in routes:
            match = route.match
            assert match is not None
            path = match.path
            if path.case_sensitive != case_sensitive:
                continue
            if path.kind == PATH_EXACT:
                self.exact.setdefault(path.text, []).append(route)
            elif path.kind in (PATH_PREFIX, PATH_SEPARATED_PREFIX, PATH_REGEX):
                by_prefix.setdefault(path.text, []).append(route)
        self.texts: list[bytes] = sorted(by_prefix)
        self.nodes: list[_PrefixNode] = []
        previous: _PrefixNode | None = None
        for text in self.texts:
            while previous is not None and not text.startswith(previous.text):
                previous = previous.parent
            node = _PrefixNode(text, previous)
            node.routes = by_prefix[text]
            node.first = node.routes[0].index
            if previous is not None and previous.first < node.first:
                node.first = previous.first
            self.nodes.append(node)
            previous = node
        self.empty: bool = not self.exact and not self.nodes

    def find(
        self, path: bytes, headers: RequestHeaderMap, info: StreamInfo, random_value: int, best: Route | None
    ) -> Route | None:
        """The first matching route, or `best` when none comes before it."""
        limit = _FAR if best is None else best.index
        exact = self.exact.get(path)
        if exact is not None:
            for route in exact:
                if route.index >= limit:
                    break
                match = route.match
                if match is not None and (match.plain or match.conditions_hold(headers, info, random_value)):
                    best = route
                    limit = route.index
                    break
        place = bisect_right(self.texts, path) - 1
        node = self.nodes[place] if place >= 0 else None
        while node is not None and not path.startswith(node.text):
            node = node.parent
        size = len(path)
        while node is not None and node.first < limit:
            for route in node.routes:
                if route.index >= limit:
                    break
                match = route.match
                if match is None:
                    continue
                kind = match.path.kind
                if kind == PATH_SEPARATED_PREFIX:
                    if size != node.size and path[node.size] != 47:
                        continue
                elif kind == PATH_REGEX and not match.path.matches(path):
                    continue
                if match.plain or match.conditions_hold(headers, info, random_value):
                    best = route
                    limit = route.index
                    break
            node = node.parent
        return best


_NO_PATHS: Final = _PathIndex([], True)


class RouteTable:
    """A list of routes; `find` gives the first, in configured order, that matches."""

    __slots__ = ("routes", "scan", "sensitive", "insensitive", "others", "connects")

    def __init__(self, routes: list[Route], scan_limit: int = _SCAN_LIMIT) -> None:
        """Gives each route its index. `scan_limit`: up to how many routes are simply tried one after the other."""
        self.routes = routes
        for index, route in enumerate(routes):
            route.index = index
        # Routes in order when they are so few that an index does not pay; the rest is empty then.
        self.scan: list[Route] | None = routes if len(routes) <= scan_limit else None
        indexed = [] if self.scan is not None else routes
        self.sensitive = _NO_PATHS if self.scan is not None else _PathIndex(indexed, True)
        self.insensitive = _NO_PATHS if self.scan is not None else _PathIndex(indexed, False)
        self.others: list[Route] = [r for r in indexed if r.match is not None and r.match.path.kind == PATH_TEMPLATE]
        self.connects: list[Route] = [r for r in indexed if r.match is not None and r.match.path.kind == PATH_CONNECT]

    def find(self, path: bytes, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> Route | None:
        """`path`: without query and fragment; empty when the request (a CONNECT) has none."""
        if self.scan is not None:
            return self._scan(path, headers, info, random_value)
        best: Route | None = None
        if self.connects and is_connect(headers):
            for route in self.connects:
                match = route.match
                if match is not None and (match.plain or match.conditions_hold(headers, info, random_value)):
                    best = route
                    break
        if not headers.path:
            return best
        if not self.sensitive.empty:
            best = self.sensitive.find(path, headers, info, random_value, best)
        if not self.insensitive.empty:
            best = self.insensitive.find(path.lower(), headers, info, random_value, best)
        limit = _FAR if best is None else best.index
        for route in self.others:
            if route.index >= limit:
                break
            match = route.match
            if (
                match is not None
                and match.path.matches(path_only(headers.path))
                and (match.plain or match.conditions_hold(headers, info, random_value))
            ):
                return route
        return best

    def _scan(self, path: bytes, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> Route | None:
        assert self.scan is not None
        has_path = bool(headers.path)
        for route in self.scan:
            match = route.match
            if match is None:
                continue
            kind = match.path.kind
            if kind == PATH_CONNECT:
                if not is_connect(headers):
                    continue
            elif not has_path or not match.path.matches(path if kind != PATH_TEMPLATE else path_only(headers.path)):
                continue
            if match.plain or match.conditions_hold(headers, info, random_value):
                return route
        return None
