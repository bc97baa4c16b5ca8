"""Virtual hosts by domain, conditions of routes, TLS requirement, explanations."""

from __future__ import annotations

import pytest

from outrider.data.stream_info import SslInfo
from outrider.router.config.redirect import RedirectRoute
from tests.router.config.support import find, load, make_context, name_of, one_host, request, stream_info, to

DOMAINS = [
    "foo.com",
    "*.foo.com",
    "*.a.foo.com",
    "*-x.com",
    "foo.*",
    "foo.c*",
    "foo.net:80",
    "*foo.org",
    "[::1]:80",
    "*",
]


def by_domain(domains: list[str], **settings: object) -> dict[str, object]:
    hosts = [{"name": each, "domains": [each], "routes": [to(each, {"prefix": "/"})]} for each in domains]
    return {"name": "r", "virtual_hosts": hosts, **settings}


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("foo.com", "foo.com"),
        ("FOO.Com", "foo.com"),
        ("b.foo.com", "*.foo.com"),
        ("b.a.foo.com", "*.a.foo.com"),
        ("y-x.com", "*-x.com"),
        ("-x.com", "*"),
        (".foo.com", "*"),
        ("foo.de", "foo.*"),
        ("foo.co", "foo.c*"),
        ("foo.c", "foo.*"),
        ("foo.net:80", "foo.net:80"),
        ("foo.net", "foo.*"),
        ("xfoo.org", "*foo.org"),
        ("foo.org", "foo.*"),
        ("[::1]:80", "[::1]:80"),
        ("other", "*"),
    ],
)
def test_domain_precedence(host: str, domain: str) -> None:
    assert name_of(load(by_domain(DOMAINS)), request(host=host)) == domain


def test_no_domain_no_route() -> None:
    config = load(by_domain(["a.com"]))
    assert name_of(config, request(host="b.com")) is None
    assert name_of(config, request(host="")) is None


@pytest.mark.parametrize(
    ("host", "domain"),
    [("a.com:81", "a.com"), ("a.com:", "a.com"), ("a.com:x", "a.com"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")],
)
def test_ignore_port(host: str, domain: str) -> None:
    config = load(by_domain(["a.com", "[::1]"], ignore_port_in_host_matching=True))
    assert name_of(config, request(host=host)) == domain


def test_vhost_header() -> None:
    config = load(by_domain(["a.com", "b.com"], vhost_header="X-Host"))
    assert name_of(config, request(host="b.com", headers=[("x-host", "a.com")])) == "a.com"
    assert name_of(config, request(host="b.com")) is None


@pytest.mark.parametrize(
    ("match", "path", "taken"),
    [
        ({"prefix": "/a"}, "/ab", True),
        ({"prefix": "/A"}, "/ab", False),
        ({"prefix": "/A", "case_sensitive": False}, "/aB", True),
        ({"path": "/a"}, "/a?x", True),
        ({"path": "/a"}, "/a/", False),
        ({"path": "/A", "case_sensitive": False}, "/a", True),
        ({"path_separated_prefix": "/a"}, "/a", True),
        ({"path_separated_prefix": "/a"}, "/a/b", True),
        ({"path_separated_prefix": "/a"}, "/ab", False),
        ({"safe_regex": {"regex": "/a+"}}, "/aaa?b", True),
        ({"safe_regex": {"regex": "/a+"}}, "/aaab", False),
        ({"prefix": "/a?b"}, "/a?b", False),
        ({"connect_matcher": {}}, "/a", False),
        ({"prefix": "/", "query_parameters": [{"name": "q"}]}, "/?q", True),
        ({"prefix": "/", "query_parameters": [{"name": "q"}]}, "/", False),
        ({"prefix": "/", "query_parameters": [{"name": "q", "present_match": False}]}, "/", True),
        ({"prefix": "/", "query_parameters": [{"name": "q", "string_match": {"exact": "1"}}]}, "/?q=1&q=2", True),
        ({"prefix": "/", "query_parameters": [{"name": "q", "string_match": {"exact": "2"}}]}, "/?q=1&q=2", False),
        ({"prefix": "/", "query_parameters": [{"name": "q", "string_match": {"exact": "a"}}]}, "/?q=%61", False),
    ],
)
def test_path_and_query(match: dict[str, object], path: str, taken: bool) -> None:
    assert (name_of(load(one_host(to("x", match))), request(path)) == "x") is taken


def test_connect() -> None:
    config = load(one_host(to("p", {"prefix": "/"}), to("c", {"connect_matcher": {}})))
    assert name_of(config, request("", method="CONNECT")) == "c"
    assert name_of(config, request("/x", method="CONNECT")) == "p"
    assert name_of(config, request("/x")) == "p"


def test_ignored_path_parameters() -> None:
    config = load({**one_host(to("x", {"path": "/a"})), "ignore_path_parameters_in_path_matching": True})
    assert name_of(config, request("/a;v=1?q")) == "x"
    assert name_of(load(one_host(to("x", {"path": "/a"}))), request("/a;v=1")) is None


@pytest.mark.parametrize(
    "match",
    [
        {"path": "/a/b"},
        {"prefix": "/a/b"},
        {"safe_regex": {"regex": "/a/b"}},
        {"path_separated_prefix": "/a"},
    ],
)
def test_parameters_of_every_segment_are_ignored(match: dict[str, object]) -> None:
    config = load({**one_host(to("x", match)), "ignore_path_parameters_in_path_matching": True})
    assert name_of(config, request("/a;v=1;w/b;z?q;r")) == "x"


@pytest.mark.parametrize("others", [0, 20])
def test_templates_see_parameters_all_the_same(others: int) -> None:
    template = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
    policy = {"name": "t", "typed_config": {"@type": template, "path_template": "/a;v=1/{x}"}}
    routes = [to("t", {"path_match_policy": policy}), *[to("o", {"path": f"/{i}"}) for i in range(others)]]
    config = load({**one_host(*routes), "ignore_path_parameters_in_path_matching": True})
    assert name_of(config, request("/a;v=1/b?q")) == "t"
    assert name_of(config, request("/a/b")) is None


@pytest.mark.parametrize(
    ("content_type", "taken"),
    [
        ("application/grpc", True),
        ("application/grpc+proto", True),
        ("application/grpc-web", False),
        ("text/plain", False),
    ],
)
def test_grpc(content_type: str, taken: bool) -> None:
    config = load(one_host(to("x", {"prefix": "/", "grpc": {}})))
    assert (name_of(config, request(headers=[("content-type", content_type)])) == "x") is taken


def test_runtime_fraction() -> None:
    fraction = {"default_value": {"numerator": 30}, "runtime_key": "share"}
    tree = one_host(to("x", {"prefix": "/", "runtime_fraction": fraction}), to("y", {"prefix": "/"}))
    config = load(tree)
    assert [name_of(config, request(), value) for value in (0, 29, 30, 129)] == ["x", "x", "y", "x"]
    config = load(tree, make_context(runtime={"share": 50}))
    assert [name_of(config, request(), value) for value in (49, 50)] == ["x", "y"]


def test_cookies_metadata_and_filter_state() -> None:
    config = load(
        one_host(
            to("c", {"prefix": "/", "cookies": [{"name": "k", "string_match": {"exact": "v"}}]}),
            to(
                "m",
                {
                    "prefix": "/",
                    "dynamic_metadata": [
                        {"filter": "f", "path": [{"key": "a"}], "value": {"double_match": {"exact": 1}}}
                    ],
                },
            ),
            to("s", {"prefix": "/", "filter_state": [{"key": "k", "string_match": {"prefix": "v"}}]}),
            to("none", {"prefix": "/"}),
        )
    )
    assert name_of(config, request(headers=[("cookie", 'a=b; k="v"')])) == "c"
    info = stream_info()
    info.set_metadata("f", {"a": 1.0})
    found = config.route(request(), info, 0)
    assert found is not None and found.name == "m"
    info = stream_info()
    info.filter_state = {"k": "value"}
    found = config.route(request(), info, 0)
    assert found is not None and found.name == "s"
    assert name_of(config, request()) == "none"


class PresentedCertificate(SslInfo):
    def peer_presented(self) -> bool:
        return True


def test_tls_context() -> None:
    config = load(
        one_host(
            to("valid", {"prefix": "/", "tls_context": {"presented": True, "validated": True}}),
            to("shown", {"prefix": "/", "tls_context": {"presented": True}}),
            to("none", {"prefix": "/", "tls_context": {"presented": False}}),
        )
    )
    assert name_of(config, request()) == "none"
    info = stream_info()
    info.connection.ssl = PresentedCertificate()
    found = config.route(request(), info, 0)
    assert found is not None and found.name == "shown"


def test_require_tls() -> None:
    config = load(one_host(to("x", {"prefix": "/"}), require_tls="ALL"))
    headers = request("/a?b", host="h:80")
    found = find(config, headers)
    assert isinstance(found, RedirectRoute) and found.code == 301
    assert found.new_location(headers, stream_info()) == b"https://h:80/a?b"
    assert name_of(config, request(scheme="https")) == "x"
    config = load(one_host(to("x", {"prefix": "/"}), require_tls="EXTERNAL_ONLY"))
    assert isinstance(find(config, request()), RedirectRoute)
    assert name_of(config, request(headers=[("x-envoy-internal", "true")])) == "x"


def test_virtual_clusters() -> None:
    clusters = [{"name": "vc", "headers": [{"name": ":path", "prefix_match": "/vc"}]}]
    context = make_context()
    host = load(one_host(virtual_clusters=clusters), context).virtual_hosts[0]
    found = host.virtual_cluster(request("/vc/1"))
    assert found is not None and found.name == "vc"
    found.upstream_rq_total.inc()
    other = host.virtual_cluster(request("/x"))
    assert other is not None and other.name == "other"
    assert context.root_scope.counter("vhost.v.vcluster.vc.upstream_rq_total").value == 1
    assert load(one_host()).virtual_hosts[0].virtual_cluster(request()) is None


def test_explanation() -> None:
    config = load(one_host(to("a", {"path": "/a"}), to("b", {"prefix": "/", "headers": [{"name": "x"}]})))
    assert config.explain(request("/a"), stream_info(), 0) == [
        "virtual host 'v' for 'example.com'",
        "taken: route[0] 'a': path = '/a' -> direct_response 200",
    ]
    assert config.explain(request("/b"), stream_info(), 0)[1:] == [
        "passed over: route[0] 'a': path = '/a' -> direct_response 200 (fails: path = '/a')",
        "passed over: route[1] 'b': path starts with '/', header x present -> direct_response 200"
        " (fails: header x present)",
        "no route",
    ]
