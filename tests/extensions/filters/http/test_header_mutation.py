"""envoy.filters.http.header_mutation: levels and queries. Values are in tests/parity."""

from __future__ import annotations

import pytest

from outrider.config.errors import ConfigError
from outrider.extensions.filters.http import header_mutation
from outrider.http.query_parameters import QueryParameters
from tests.extensions.filters.http.scene import Scene, request_headers

assert header_mutation
TYPE = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"


def level(value: str) -> dict[str, object]:
    header = {"header": {"key": "x-level", "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {"mutations": {"request_mutations": [{"append": header}]}}


@pytest.mark.parametrize(("specific_wins", "winner"), [(False, b"host"), (True, b"route")])
def test_the_level_that_wins(specific_wins: bool, winner: bytes) -> None:
    scene = Scene("m", TYPE, {**level("filter"), "most_specific_header_mutations_wins": specific_wins})
    levels = [scene.route_config(TYPE + "PerRoute", level(name)) for name in ("host", "route")]
    headers = request_headers()
    assert scene.stream(headers, *levels).passed
    assert headers.get(b"x-level") == winner


def test_query_is_sorted_and_safe() -> None:
    query = QueryParameters(b"/p?z=1&a=%0a%41&z=2")
    query.add(b"b", b"x%20y")
    assert query.path() == b"/p?a=%0AA&b=x%20y&z=1&z=2"
    query.remove(b"z")
    query.remove(b"a")
    query.remove(b"b")
    assert query.path() == b"/p"


def test_query_mutation_needs_one_action() -> None:
    with pytest.raises(ConfigError):
        Scene("m", TYPE, {"mutations": {"query_parameter_mutations": [{}]}})
