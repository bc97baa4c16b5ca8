"""envoy.filters.http.header_mutation: edits headers, trailers and query parameters by a list of steps.

Source: Envoy documentation, "Header mutation"; `envoy.extensions.filters.http.header_mutation.v3`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from outrider.access_log.context import FormatContext
from outrider.access_log.formatter import Formatter, parse_format
from outrider.access_log.syntax import FormatError
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.http.filter import HEADERS_CONTINUE, TRAILERS_CONTINUE, HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.http.header_mutation import (
    ADD_IF_ABSENT,
    APPEND_IF_EXISTS_OR_ADD,
    OVERWRITE_IF_EXISTS,
    OVERWRITE_IF_EXISTS_OR_ADD,
    HeaderMutations,
)
from outrider.http.query_parameters import QueryParameters

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_ACTIONS: Final[dict[str, int]] = {
    "APPEND_IF_EXISTS_OR_ADD": APPEND_IF_EXISTS_OR_ADD,
    "ADD_IF_ABSENT": ADD_IF_ABSENT,
    "OVERWRITE_IF_EXISTS_OR_ADD": OVERWRITE_IF_EXISTS_OR_ADD,
    "OVERWRITE_IF_EXISTS": OVERWRITE_IF_EXISTS,
}


class QueryMutation:
    """One step on the query: removes `name`, or (with a formatter) sets it as the action says."""

    __slots__ = ("name", "formatter", "action")

    def __init__(self, name: bytes, formatter: Formatter | None, action: int) -> None:
        self.name = name
        self.formatter = formatter
        self.action = action

    def mutate(self, query: QueryParameters, context: FormatContext) -> None:
        if self.formatter is None:
            query.remove(self.name)
            return
        # The set of application/x-www-form-urlencoded, with %20 for the space.
        value = quote(self.formatter.format_bytes(context), safe="*").replace("~", "%7E").encode()
        action = self.action
        if action == APPEND_IF_EXISTS_OR_ADD:
            query.add(self.name, value)
        elif action == OVERWRITE_IF_EXISTS_OR_ADD or query.has(self.name) == (action == OVERWRITE_IF_EXISTS):
            query.set(self.name, value)


class Mutations:
    """All steps of one level: the filter's own, or those of a route."""

    __slots__ = ("request", "query", "response", "response_trailers", "request_trailers")

    def __init__(self) -> None:
        self.request: HeaderMutations = HeaderMutations([])
        self.query: list[QueryMutation] = []
        self.response: HeaderMutations = HeaderMutations([])
        self.response_trailers: HeaderMutations = HeaderMutations([])
        self.request_trailers: HeaderMutations = HeaderMutations([])

    def mutate_request(self, headers: RequestHeaderMap, context: FormatContext) -> None:
        self.request.evaluate_headers(headers, context)
        if self.query and headers.path:
            query = QueryParameters(headers.path)
            for step in self.query:
                step.mutate(query, context)
            headers.path = query.path()


class HeaderMutationFilter(HttpFilter):
    """Applies the filter's mutations, then those of the route's levels."""

    __slots__ = ("mutations", "most_specific_wins", "_levels")

    def __init__(self, mutations: Mutations, most_specific_wins: bool) -> None:
        self.mutations = mutations
        self.most_specific_wins = most_specific_wins
        self._levels: list[Mutations] | None = None

    def _all_levels(self) -> list[Mutations]:
        """The filter's own level and those of the route, in the order in which they are applied; later ones win."""
        levels = self._levels
        if levels is None:
            levels = [self.mutations]
            route = self.manager.route()
            if route is not None:
                found = route.per_filter_configs(self.config_name)
                for each in found if self.most_specific_wins else reversed(found):
                    if isinstance(each, Mutations):
                        levels.append(each)
            self._levels = levels
        return levels

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        # The route is asked for before anything is changed.
        levels = self._all_levels()
        context = FormatContext(self.manager.stream_info, headers)
        for level in levels:
            level.mutate_request(headers, context)
        return HEADERS_CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> int:
        context = FormatContext(self.manager.stream_info, self.manager.request_headers)
        for level in self._all_levels():
            level.request_trailers.evaluate_headers(trailers, context)
        return TRAILERS_CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        context = FormatContext(self.manager.stream_info, self.manager.request_headers, headers)
        for level in self._all_levels():
            level.response.evaluate_headers(headers, context)
        return HEADERS_CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> int:
        manager = self.manager
        context = FormatContext(manager.stream_info, manager.request_headers, manager.response_headers, trailers)
        for level in self._all_levels():
            level.response_trailers.evaluate_headers(trailers, context)
        return TRAILERS_CONTINUE


class HeaderMutationFactory(HttpFilterFactory):
    def __init__(self, mutations: Mutations, most_specific_wins: bool) -> None:
        self.mutations = mutations
        self.most_specific_wins = most_specific_wins

    def create(self) -> HttpFilter:
        return HeaderMutationFilter(self.mutations, self.most_specific_wins)


def _query_mutation(view: View) -> QueryMutation:
    append = view.message("append")
    remove = view.text("remove")
    if append is not None and append.has("record"):
        if remove:
            raise view.error("Only one of 'append'/'remove can be specified.")
        record = append.message("record")
        assert record is not None
        value = record.value("value")
        if not isinstance(value, str):
            raise record.error("Only string value is allowed for record value.", "value")
        name = record.text("key")
    elif append is not None:
        raise append.error("No record specified for append mutation.", "record")
    elif remove:
        return QueryMutation(remove.encode(), None, 0)
    else:
        raise view.error("One of 'append'/'remove' must be specified.")
    try:
        formatter = parse_format(value, (), True)
    except FormatError as error:
        raise append.error(str(error), "record.value") from None
    return QueryMutation(name.encode(), formatter, _ACTIONS[append.enum("action")])


def parse_mutations(view: View | None, context: FactoryContext) -> Mutations:
    """From a `Mutations` message. Raises ConfigError."""
    made = Mutations()
    if view is not None:
        made.request = HeaderMutations.from_views(view.messages("request_mutations"), context)
        made.query = [_query_mutation(each) for each in view.messages("query_parameter_mutations")]
        made.response = HeaderMutations.from_views(view.messages("response_mutations"), context)
        made.response_trailers = HeaderMutations.from_views(view.messages("response_trailers_mutations"), context)
        made.request_trailers = HeaderMutations.from_views(view.messages("request_trailers_mutations"), context)
    return made


@HTTP_FILTERS.register(
    "envoy.filters.http.header_mutation", "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    mutations = parse_mutations(config.message("mutations"), context)
    return HeaderMutationFactory(mutations, config.flag("most_specific_header_mutations_wins"))


@route_config("envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute")
def create_for_route(config: View, context: FactoryContext) -> object:
    return parse_mutations(config.message("mutations"), context)
