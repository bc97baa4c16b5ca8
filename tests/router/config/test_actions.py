"""Redirect targets, rewrites, header edits, cluster choice: expectations taken from Envoy 1.40."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from outrider.config.errors import ConfigError
from outrider.router.config.redirect import DirectResponseRoute, RedirectRoute
from outrider.router.config.route_entry import RouteEntry
from tests.router.config.support import find, load, make_context, one_host, request, stream_info

TEMPLATE = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
REWRITE = "type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig"


def location(redirect: dict[str, object], path: str, host: str = "example.com", scheme: str = "http") -> str:
    config = load(one_host({"match": {"prefix": "/h"}, "redirect": redirect}))
    headers = request(path, host, scheme=scheme, headers=[("x", "XV")])
    found = find(config, headers)
    assert isinstance(found, RedirectRoute)
    return found.new_location(headers, stream_info()).decode()


@pytest.mark.parametrize(
    ("redirect", "path", "expected"),
    [
        ({"https_redirect": True}, "/h/a?b=c", "https://example.com/h/a?b=c"),
        ({"host_redirect": "new.com"}, "/h/a", "http://new.com/h/a"),
        ({"host_redirect": "new.com", "port_redirect": 8080}, "/h", "http://new.com:8080/h"),
        ({"port_redirect": 443, "https_redirect": True}, "/h", "https://example.com:443/h"),
        ({"path_redirect": "/np"}, "/h?q=1", "http://example.com/np?q=1"),
        ({"path_redirect": "/np?x=1"}, "/h?q=1", "http://example.com/np?x=1"),
        ({"path_redirect": "/np?x=1", "strip_query": True}, "/h?q=1", "http://example.com/np?x=1"),
        ({"path_redirect": "/np#frag"}, "/h?z=1", "http://example.com/np#frag?z=1"),
        ({"path_redirect": "p"}, "/h", "http://example.com/p"),
        ({"path_redirect": ""}, "/h", "http://example.com/h"),
        ({"path_redirect": "/%REQ(x)%"}, "/h", "http://example.com/%REQ(x)%"),
        ({"prefix_rewrite": "/pre"}, "/hx?q=1", "http://example.com/prex?q=1"),
        ({"prefix_rewrite": "/pre", "strip_query": True}, "/h/x?q", "http://example.com/pre/x"),
        ({"prefix_rewrite": ""}, "/h/x", "http://example.com/h/x"),
        (
            {"regex_rewrite": {"pattern": {"regex": "^/h/(\\d+)"}, "substitution": "/n/\\1"}},
            "/h/12/3?y=/h/4",
            "http://example.com/n/12/3?y=/h/4",
        ),
        ({"path_rewrite": "/%REQ(x)%/y"}, "/h?q=1", "http://example.com/XV/y?q=1"),
        ({"path_rewrite": "/y?z=%REQ(x)%"}, "/h?q=1", "http://example.com/y?z=XV"),
        ({"path_rewrite": "%REQ(none)%"}, "/h?q=1", "http://example.com/h?q=1"),
        ({"scheme_redirect": "HTTPS"}, "/h", "HTTPS://example.com/h"),
        ({}, "/h/?q", "http://example.com/h/?q"),
    ],
)
def test_location(redirect: dict[str, object], path: str, expected: str) -> None:
    assert location(redirect, path) == expected


@pytest.mark.parametrize(
    ("redirect", "host", "scheme", "expected"),
    [
        ({"https_redirect": True}, "example.com:80", "http", "https://example.com/h"),
        ({"https_redirect": True}, "example.com:8080", "http", "https://example.com:8080/h"),
        ({"https_redirect": True}, "example.com:443", "http", "https://example.com:443/h"),
        ({"https_redirect": True}, "example.com:80", "https", "https://example.com:80/h"),
        ({"scheme_redirect": "http"}, "example.com:443", "https", "http://example.com/h"),
        ({"https_redirect": True}, "[::1]:80", "http", "https://[::1]/h"),
        ({"https_redirect": True}, "[::1]", "http", "https://[::1]/h"),
        ({"port_redirect": 443}, "[::1]", "http", "http://[::1]:443/h"),
        ({"port_redirect": 443}, "[::1]:80", "http", "http://[::1]:443/h"),
        ({}, "example.com:80", "http", "http://example.com:80/h"),
        ({"https_redirect": True}, "example.com:", "http", "https://example.com:/h"),
    ],
)
def test_default_ports(redirect: dict[str, object], host: str, scheme: str, expected: str) -> None:
    assert location(redirect, "/h", host, scheme) == expected


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("MOVED_PERMANENTLY", 301),
        ("FOUND", 302),
        ("SEE_OTHER", 303),
        ("TEMPORARY_REDIRECT", 307),
        ("PERMANENT_REDIRECT", 308),
    ],
)
def test_redirect_codes(name: str, code: int) -> None:
    found = find(load(one_host({"match": {"prefix": "/"}, "redirect": {"response_code": name}})), request())
    assert isinstance(found, RedirectRoute) and found.code == code


def forwarded(
    route: dict[str, object],
    path: str = "/a",
    headers: list[tuple[str, str]] | None = None,
    keep_original: bool = True,
    **config: object,
) -> dict[str, str]:
    """The request as it goes upstream."""
    loaded = load({**one_host(route), **config})
    made = request(path, headers=headers or [])
    found = find(loaded, made)
    assert isinstance(found, RouteEntry)
    found.finalize_request_headers(made, stream_info(), keep_original)
    made.remove(b"x-forwarded-proto")
    return {name.decode(): (made.get_joined(name) or b"").decode() for name, _ in made.all_items()}


def rewritten(match: dict[str, object], path: str, **action: object) -> str:
    sent = forwarded({"match": match, "route": {"cluster": "c1", **action}}, path, [("x-host", "hh")])
    if sent[":path"] != path:
        assert sent["x-envoy-original-path"] == path
    return sent[":path"]


@pytest.mark.parametrize(
    ("match", "path", "action", "expected"),
    [
        ({"prefix": "/a"}, "/a?x=/a", {"prefix_rewrite": "/B"}, "/B?x=/a"),
        ({"prefix": "/A", "case_sensitive": False}, "/a/x", {"prefix_rewrite": "/B"}, "/B/x"),
        ({"path": "/a"}, "/a?y", {"prefix_rewrite": "/new"}, "/new?y"),
        ({"safe_regex": {"regex": "/a.*"}}, "/axx?y=1", {"prefix_rewrite": "/new"}, "/new?y=1"),
        ({"path_separated_prefix": "/a"}, "/a/b?c", {"prefix_rewrite": "/new"}, "/new/b?c"),
        ({"path_separated_prefix": "/a"}, "/a/b", {"prefix_rewrite": "/"}, "//b"),
        ({"prefix": "/q"}, "/q/z?z", {"prefix_rewrite": "same"}, "same/z?z"),
        ({"prefix": "/e"}, "/e?q=1", {"path_rewrite": "/p-%REQ(x-host)%"}, "/p-hh?q=1"),
        ({"prefix": "/f"}, "/f?q=1", {"path_rewrite": "/p?z=%REQ(x-none)%"}, "/p?z=?q=1"),
        ({"prefix": "/r"}, "/r?q", {"path_rewrite": "%REQ(x-none)%"}, "/r?q"),
        (
            {"prefix": "/g"},
            "/g/g?g",
            {"regex_rewrite": {"pattern": {"regex": "g"}, "substitution": "[\\0]"}},
            "/[g]/[g]?g",
        ),
        ({"prefix": "/h"}, "/h?g", {"regex_rewrite": {"pattern": {"regex": "h"}, "substitution": "\\1"}}, "/h?g"),
        ({"prefix": "/i"}, "/i?g", {"regex_rewrite": {"pattern": {"regex": "i"}, "substitution": "x\\"}}, "/x?g"),
        (
            {"prefix": "/j"},
            "/j/aa?g",
            {"regex_rewrite": {"pattern": {"regex": "j*"}, "substitution": "-"}},
            "-/-/-a-a-?g",
        ),
        (
            {
                "path_match_policy": {
                    "name": "t",
                    "typed_config": {"@type": TEMPLATE, "path_template": "/z/{a}/{b=**}"},
                }
            },
            "/z/1/2/3?q",
            {
                "path_rewrite_policy": {
                    "name": "t",
                    "typed_config": {"@type": REWRITE, "path_template_rewrite": "/{b}-{a}"},
                }
            },
            "/2/3-1?q",
        ),
    ],
)
def test_path_rewrites(match: dict[str, object], path: str, action: dict[str, object], expected: str) -> None:
    assert rewritten(match, path, **action) == expected


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ({"host_rewrite_literal": "lit.host"}, "lit.host"),
        ({"host_rewrite_header": "x-host"}, "hh"),
        ({"host_rewrite_header": "x-none"}, "example.com"),
        ({"host_rewrite_path_regex": {"pattern": {"regex": "^/(.+)$"}, "substitution": "\\1"}}, "a"),
        ({"host_rewrite": "h-%REQ(x-host)%"}, "h-hh"),
        ({"host_rewrite": "%REQ(x-none)%"}, "-"),
        ({"auto_host_rewrite": True}, "example.com"),
    ],
)
def test_host_rewrites(action: dict[str, object], expected: str) -> None:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "c1", "append_x_forwarded_host": True, **action}}
    sent = forwarded(route, "/a?q", [("x-host", "hh")])
    assert sent[":authority"] == expected
    if expected == "example.com":
        assert "x-envoy-original-host" not in sent and "x-forwarded-host" not in sent
    else:
        assert sent["x-envoy-original-host"] == sent["x-forwarded-host"] == "example.com"
    assert "x-envoy-original-host" not in forwarded(route, "/a", [("x-host", "hh")], keep_original=False)


def test_forwarded_host_is_not_repeated() -> None:
    route = {
        "match": {"prefix": "/"},
        "route": {"cluster": "c1", "host_rewrite_literal": "x", "append_x_forwarded_host": True},
    }
    assert forwarded(route, "/", [("x-forwarded-host", "a,example.com")])["x-forwarded-host"] == "a,example.com"
    assert forwarded(route, "/", [("x-forwarded-host", "a")])["x-forwarded-host"] == "a,example.com"


def edits(tag: str) -> dict[str, object]:
    return {
        "request_headers_to_add": [
            {"header": {"key": "x-a", "value": tag}},
            {"header": {"key": "x-o", "value": tag}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
            {"header": {"key": "x-path", "value": f"{tag}:%REQ(:path)%|%REQ(:authority)%"}},
        ],
        "request_headers_to_remove": [f"x-rm-{tag}"],
    }


@pytest.mark.parametrize(
    ("most_specific", "order", "winner"), [(False, ["W", "R", "V", "C"], "C"), (True, ["W", "C", "V", "R"], "R")]
)
def test_order_of_header_edits(most_specific: bool, order: list[str], winner: str) -> None:
    cluster = {"name": "c1", "weight": 1, "host_rewrite_literal": "wc", **edits("W")}
    action = {"weighted_clusters": {"clusters": [cluster]}, "prefix_rewrite": "/new"}
    tree = {
        "name": "r",
        "virtual_hosts": [
            {
                "name": "v",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/w"}, "route": action, **edits("R")}],
                **edits("V"),
            }
        ],
        "most_specific_header_mutations_wins": most_specific,
        **edits("C"),
    }
    made = request("/w/x", headers=[("x-rm-W", "1"), ("x-rm-V", "1"), ("x-rm-X", "1")])
    found = find(load(tree), made)
    assert isinstance(found, RouteEntry)
    found.finalize_request_headers(made, stream_info(), True)
    assert made.get_joined(b"x-a") == ",".join(order).encode()
    assert made.get(b"x-o") == winner.encode()
    hosts = ["example.com", "wc", "wc", "wc"]
    assert made.get_all(b"x-path") == [f"{t}:/w/x|{h}".encode() for t, h in zip(order, hosts, strict=True)]
    assert (made.path, made.authority) == (b"/new/x", b"wc")
    # The host of a weighted cluster replaces the authority silently.
    assert made.get(b"x-envoy-original-host") is None
    assert [made.get(name) for name in (b"x-rm-w", b"x-rm-v", b"x-rm-x")] == [None, None, b"1"]


def chosen(
    route: Mapping[str, object],
    random_value: int,
    runtime: dict[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> str | None:
    config = load(one_host({"match": {"prefix": "/"}, "route": route}), make_context(runtime=runtime))
    found = find(config, request(headers=list((headers or {}).items())), random_value)
    assert found is None or isinstance(found, RouteEntry)
    return None if found is None else found.cluster_name


def test_weighted_clusters() -> None:
    clusters = [{"name": "c1", "weight": 10}, {"name": "c2", "weight": 0}, {"name": "c3", "weight": 90}]
    route = {"weighted_clusters": {"clusters": clusters, "runtime_key_prefix": "k"}}
    assert [chosen(route, value) for value in (0, 9, 10, 99, 100)] == ["c1", "c1", "c3", "c3", "c1"]
    assert chosen(route, 5, {"k.c1": 0, "k.c2": 10}) == "c2"
    with pytest.raises(ConfigError, match="Sum of weights"):
        chosen(route, 5, {"k.c1": 0, "k.c2": 0, "k.c3": 0})
    route = {"weighted_clusters": {"clusters": clusters, "header_name": "x-n"}}
    assert chosen(route, 0, headers={"x-n": "10"}) == "c3"
    assert chosen(route, 0, headers={"x-n": "ten"}) == "c1"
    hashing = {
        "weighted_clusters": {"clusters": clusters, "use_hash_policy": True},
        "hash_policy": [{"header": {"header_name": "u"}}],
    }
    assert {chosen(hashing, value, headers={"u": "someone"}) for value in range(0, 100, 10)} in ({"c1"}, {"c3"})


def test_cluster_header() -> None:
    route = {"cluster_header": "x-c", "cluster_not_found_response_code": "NOT_FOUND"}
    config = load(one_host({"match": {"prefix": "/"}, "route": route}))
    for name in ("one", "two", "one"):
        found = find(config, request(headers=[("x-c", name)]))
        assert isinstance(found, RouteEntry)
        assert (found.cluster_name, found.cluster_not_found_code) == (name, 404)
    found = find(config, request())
    assert isinstance(found, RouteEntry) and found.cluster_name == ""


def test_cluster_header_names_are_kept_in_bounds() -> None:
    config = load(one_host({"match": {"prefix": "/"}, "route": {"cluster_header": "x-c"}}))
    for number in range(1000):
        found = find(config, request(headers=[("x-c", f"n{number}")]))
        assert isinstance(found, RouteEntry) and found.cluster_name == f"n{number}"
    assert len(config.virtual_hosts[0].table.routes[0].kept) <= 256  # type: ignore[attr-defined]


def test_metadata_match_of_weighted_cluster_adds_to_the_routes() -> None:
    cluster = {"name": "c1", "weight": 1, "metadata_match": {"filter_metadata": {"envoy.lb": {"b": "2"}}}}
    route = {
        "weighted_clusters": {"clusters": [cluster]},
        "metadata_match": {"filter_metadata": {"envoy.lb": {"a": "1", "b": "1"}}},
    }
    found = find(load(one_host({"match": {"prefix": "/"}, "route": route})), request())
    assert isinstance(found, RouteEntry) and found.metadata_match == {"a": "1", "b": "2"}


def test_direct_response_body_and_format() -> None:
    answer = {
        "status": 418,
        "body": {"inline_string": "B"},
        "body_format": {"json_format": {"who": "%REQ(x)%", "body": "%LOCAL_REPLY_BODY%"}},
    }
    config = load(one_host({"match": {"prefix": "/"}, "direct_response": answer}))
    headers = request(headers=[("x", "me")])
    found = find(config, headers)
    assert isinstance(found, DirectResponseRoute) and found.code == 418
    from outrider.data.header_map import ResponseHeaderMap

    body = found.response_body(headers, ResponseHeaderMap(status=418), stream_info())
    assert body == b'{"body":"B","who":"me"}\n'
    assert found.content_type == b"application/json"


def test_routes_for_proxyless_clients_have_no_cluster() -> None:
    config = load(one_host({"match": {"prefix": "/"}, "non_forwarding_action": {}}))
    found = find(config, request())
    assert isinstance(found, RouteEntry) and found.cluster_name == "" and found.cluster_not_found_code == 503
