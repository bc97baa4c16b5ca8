"""The indexed table finds what a plain scan finds, in configured order."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from outrider.data.header_map import RequestHeaderMap
from outrider.matching.header_matcher import PresentHeader
from outrider.matching.regex import Regex
from outrider.router.config.path_match import (
    PATH_CONNECT,
    ConnectPath,
    ExactPath,
    PathMatch,
    PrefixPath,
    RegexPath,
    SeparatedPrefixPath,
    TemplatePath,
    path_only,
)
from outrider.router.config.route import Route
from outrider.router.config.route_config import RouteConfig
from outrider.router.config.route_entry import RouteEntry
from outrider.router.config.route_match import RouteMatch
from outrider.router.config.route_table import RouteTable
from outrider.router.config.uri_template import UriTemplate
from outrider.router.config.virtual_host import VirtualHost
from tests.router.config.support import load, one_host, request, stream_info, to

HOST = VirtualHost("v", RouteConfig("r"))

pieces = st.sampled_from(["", "/", "a", "b", "A", "/a", "/ab", "/a/b", "ab", "//", "/a/"])
paths = st.lists(pieces, max_size=4).map(lambda parts: ("/" + "".join(parts)).encode())
cases = st.booleans()


def conditions(path: PathMatch, wants_header: bool) -> RouteMatch:
    match = RouteMatch(path)
    if wants_header:
        match.headers = [PresentHeader(b"x", False)]
    match.seal()
    return match


path_matches = st.one_of(
    st.builds(ExactPath, paths, cases),
    st.builds(PrefixPath, st.one_of(paths, st.just(b"")), cases),
    st.builds(SeparatedPrefixPath, paths.map(lambda path: path.rstrip(b"/") or b"/a"), cases),
    st.sampled_from(["/a.*", ".*b", "/[ab]+", "/"]).map(lambda text: RegexPath(Regex(text))),
    st.sampled_from(["/a/*", "/**", "/{x}/b"]).map(lambda text: TemplatePath(UriTemplate(text))),
    st.builds(ConnectPath),
)
tables = st.lists(st.builds(conditions, path_matches, cases), max_size=40)


def plain_scan(routes: list[Route], path: bytes, headers: RequestHeaderMap) -> Route | None:
    """What the documentation says: the first route of the list that matches."""
    for route in routes:
        assert route.match is not None
        kind = route.match.path.kind
        if kind == PATH_CONNECT:
            fits = headers.method == b"CONNECT"
        else:
            fits = bool(headers.path)
            fits = fits and route.match.path.matches(path)
        if fits and route.match.conditions_hold(headers, stream_info(), 0):
            return route
    return None


@settings(max_examples=400, deadline=None)
@given(tables, paths, st.sampled_from(["", "?q=/a", "?", "#f"]), cases, st.sampled_from(["GET", "CONNECT"]), cases)
@example(
    [conditions(PrefixPath(b"/a", True), True), conditions(PrefixPath(b"/", True), False)],
    b"/ab",
    "",
    False,
    "GET",
    False,
)
def test_index_equals_plain_scan(
    matches: list[RouteMatch], path: bytes, query: str, has_header: bool, method: str, has_path: bool
) -> None:
    routes: list[Route] = [RouteEntry(HOST, match) for match in matches]
    headers = request(path.decode() + query if has_path or method == "GET" else "", method=method)
    if has_header:
        headers.add(b"x", b"1")
    plain = path_only(headers.path)
    expected = plain_scan(routes, plain, headers)
    assert RouteTable(routes, 0).find(plain, headers, stream_info(), 0) is expected
    assert RouteTable(routes, 1000).find(plain, headers, stream_info(), 0) is expected


def test_first_match_wins_over_longer_prefix() -> None:
    config = load(
        one_host(
            *[to(f"x{i}", {"path": f"/x{i}"}) for i in range(20)],
            to("p", {"prefix": "/"}),
            to("l", {"prefix": "/long"}),
        )
    )
    assert config.route(request("/long"), stream_info(), 0) is config.virtual_hosts[0].table.routes[20]


def test_ten_thousand_routes_each_found() -> None:
    routes = [to(f"r{i}", {"prefix": f"/service{i}/"} if i % 2 else {"path": f"/service{i}"}) for i in range(10_000)]
    config = load(one_host(*routes))
    for i in range(0, 10_000, 37):
        found = config.route(request(f"/service{i}/x" if i % 2 else f"/service{i}"), stream_info(), 0)
        assert found is not None and found.name == f"r{i}"
    assert config.route(request("/service"), stream_info(), 0) is None


def test_deeply_nested_prefixes() -> None:
    routes = [to(f"r{i}", {"prefix": "/" + "a" * (400 - i)}) for i in range(400)]
    config = load(one_host(*routes))
    for length in (0, 1, 200, 399, 400, 500):
        found = config.route(request("/" + "a" * length), stream_info(), 0)
        name = None if found is None else found.name
        assert name == (None if length == 0 else f"r{400 - min(length, 400)}")
