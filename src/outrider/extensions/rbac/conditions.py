"""Conditions of RBAC policies: what both permissions and principals offer.

Source: Envoy documentation, "Role Based Access Control", `config.rbac.v3.RBAC`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from outrider.router.config.route import Route

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.header_map import RequestHeaderMap
    from outrider.data.stream_info import ConnectionInfo, StreamInfo
    from outrider.matching.header_matcher import HeaderMatcher
    from outrider.matching.path_matcher import PathMatcher
    from outrider.matching.value_matcher import MetadataMatcher

_NO_METADATA: Final[dict[str, dict[str, object]]] = {}


class Subject:
    """What is judged: a request, or a connection (with empty headers and a stream info of its own)."""

    __slots__ = ("connection", "info", "headers", "route")

    def __init__(
        self, connection: ConnectionInfo, info: StreamInfo, headers: RequestHeaderMap, route: object | None
    ) -> None:
        # The connection as it is; `info.connection` may name the client that a header tells of.
        self.connection = connection
        self.info = info
        self.headers = headers
        self.route = route


@mypyc_attr(allow_interpreted_subclasses=True)
class Condition:
    """One permission or principal."""

    def matches(self, subject: Subject) -> bool:
        raise NotImplementedError


class Always(Condition):
    """`any: true`"""

    def matches(self, subject: Subject) -> bool:
        return True


class All(Condition):
    def __init__(self, conditions: list[Condition]) -> None:
        self.conditions = conditions

    def matches(self, subject: Subject) -> bool:
        for condition in self.conditions:
            if not condition.matches(subject):
                return False
        return True


class AnyOf(Condition):
    def __init__(self, conditions: list[Condition]) -> None:
        self.conditions = conditions

    def matches(self, subject: Subject) -> bool:
        for condition in self.conditions:
            if condition.matches(subject):
                return True
        return False


class Not(Condition):
    def __init__(self, condition: Condition) -> None:
        self.condition = condition

    def matches(self, subject: Subject) -> bool:
        return not self.condition.matches(subject)


class Header(Condition):
    def __init__(self, matcher: HeaderMatcher) -> None:
        self.matcher = matcher

    def matches(self, subject: Subject) -> bool:
        return self.matcher.matches(subject.headers)


class UrlPath(Condition):
    def __init__(self, matcher: PathMatcher) -> None:
        self.matcher = matcher

    def matches(self, subject: Subject) -> bool:
        path = subject.headers.path
        return bool(path) and self.matcher.matches(path)


class Metadata(Condition):
    """Dynamic metadata, or that of the route."""

    def __init__(self, matcher: MetadataMatcher, of_route: bool) -> None:
        self.matcher = matcher
        self.of_route = of_route

    def matches(self, subject: Subject) -> bool:
        if not self.of_route:
            return self.matcher.matches(subject.info.metadata)
        route = subject.route
        return self.matcher.matches(route.metadata if isinstance(route, Route) else _NO_METADATA)


@mypyc_attr(allow_interpreted_subclasses=True)
class ConditionParser:
    """Builds permissions or principals."""

    # Name of the oneof, and of the field that holds the members of a set.
    oneof: str = ""
    members: str = ""

    def __init__(self, context: Any, http: bool) -> None:
        self.context = context
        self.http = http

    def parse(self, view: View) -> Condition:
        """Raises ConfigError."""
        kind = view.which(self.oneof)
        if kind is None:
            raise view.error("value is required", self.oneof)
        if kind == "any":
            view.flag(kind)
            return Always()
        if not self.http and kind == "header":
            # A path never matches there, and is let through.
            raise self._not_for_network(view)
        inner = None if kind in ("destination_port",) else view.message(kind)
        if inner is None:
            return self.parse_own(view, kind, None)
        if kind in ("and_rules", "and_ids"):
            return All([self.parse(each) for each in inner.messages(self.members)])
        if kind in ("or_rules", "or_ids"):
            return AnyOf([self.parse(each) for each in inner.messages(self.members)])
        if kind in ("not_rule", "not_id"):
            return Not(self.parse(inner))
        return self._parse_shared(view, kind, inner)

    def _parse_shared(self, view: View, kind: str, inner: View) -> Condition:
        from outrider.matching.header_matcher import parse_header_matcher
        from outrider.matching.path_matcher import parse_path_matcher
        from outrider.matching.value_matcher import parse_metadata_matcher

        if kind == "header":
            return Header(parse_header_matcher(inner, self.context))
        if kind == "url_path":
            return UrlPath(parse_path_matcher(inner, self.context))
        if kind == "metadata":
            return Metadata(parse_metadata_matcher(inner, self.context), False)
        if kind == "sourced_metadata":
            matcher = inner.message("metadata_matcher")
            if matcher is None:
                raise inner.error("value is required", "metadata_matcher")
            return Metadata(parse_metadata_matcher(matcher, self.context), inner.enum("metadata_source") == "ROUTE")
        return self.parse_own(view, kind, inner)

    def parse_own(self, view: View, kind: str, inner: View | None) -> Condition:
        """A kind that only these conditions have."""
        raise NotImplementedError

    @staticmethod
    def _not_for_network(view: View) -> Exception:
        header = view.message("header")
        assert header is not None
        return view.error(f"Found header({header.text('name')}) rule,not supported by RBAC network filter", "header")
