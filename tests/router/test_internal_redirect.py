"""Redirect responses that the proxy follows itself."""

from __future__ import annotations

import pytest

from outrider.extensions.internal_redirect_predicates.allow_listed_routes import AllowListedRoutesFactory
from outrider.extensions.internal_redirect_predicates.previous_routes import PreviousRoutesFactory
from outrider.extensions.internal_redirect_predicates.safe_cross_scheme import SafeCrossSchemeFactory
from outrider.http.codec import RESET_LOCAL
from outrider.router.config.internal_redirect import InternalRedirectPolicy
from outrider.router.config.route_entry import RouteEntry
from outrider.router.internal_redirect import REDIRECTS_KEY, RedirectCount, split_url
from tests.router.support.playbook import World


def redirecting() -> tuple[World, InternalRedirectPolicy]:
    world = World()
    policy = InternalRedirectPolicy()
    policy.response_codes = [302, 303]
    world.route.internal_redirect_policy = policy
    target = RouteEntry(world.host, None)
    target.name = "target"
    target.cluster_name = "other"
    world.manager.routes.append(target)
    return world, policy


def passed(world: World, name: str) -> None:
    """The response was forwarded, and the stat says why."""
    assert world.manager.recreated is None
    assert world.manager.status in (302, 303)
    assert world.counter("http.h.passthrough_internal_redirect_" + name) == 1
    assert world.up("upstream_internal_redirect_failed_total") == 1


def test_follow() -> None:
    world, policy = redirecting()
    policy.response_headers_to_copy = [b"x-keep", b"x-gone"]
    headers = world.request((b"x-gone", b"1"))
    world.attempts[0].respond(302, None, (b"location", b"http://b.test:81/to?x=1#part"), (b"x-keep", b"7"))
    assert world.manager.recreated is headers
    assert (headers.scheme, headers.authority, headers.path) == (b"http", b"b.test:81", b"/to?x=1")
    assert headers.get(b"x-keep") == b"7" and headers.get(b"x-gone") is None
    assert headers.get(b"x-envoy-original-url") == b"http://a.test/"
    assert world.up("upstream_internal_redirect_succeeded_total") == 1
    assert world.up("upstream_rq_302") == 0
    assert world.attempts[0].encoder.reset == RESET_LOCAL
    info = world.manager.stream_info
    assert (info.response_code, info.response_code_details, info.cluster_name) == (302, "internal_redirect", "other")
    assert info.filter_state is not None
    count = info.filter_state[REDIRECTS_KEY]
    assert isinstance(count, RedirectCount) and count.serialize_typed() == 1


def test_see_other_turns_into_get() -> None:
    world, _ = redirecting()
    headers = world.request((b"content-length", b"4"), method=b"POST", end=False)
    world.send(b"body", True)
    world.attempts[0].respond(303, b"", (b"location", b"http://b.test/"))
    assert headers.method == b"GET" and headers.get(b"content-length") is None
    assert world.manager.recreated is headers


def test_other_redirects_keep_method_and_body() -> None:
    world, _ = redirecting()
    headers = world.request(method=b"POST", end=False)
    world.send(b"body", True)
    assert world.manager.decoding_buffer() == b"body"
    world.attempts[0].respond(302, b"", (b"location", b"http://b.test/"))
    assert headers.method == b"POST"


@pytest.mark.parametrize("location", [b"", b"/relative", b"ftp://b.test/", b"http://", b"http://u@b/", b"http://b/ x"])
def test_bad_locations(location: bytes) -> None:
    world, _ = redirecting()
    world.request()
    world.attempts[0].respond(302, b"", (b"location", location))
    passed(world, "bad_location")


def test_without_location() -> None:
    world, _ = redirecting()
    world.request()
    world.attempts[0].respond(302)
    assert world.manager.status == 302
    assert world.up("upstream_internal_redirect_failed_total") == 1


def test_to_another_scheme() -> None:
    world, policy = redirecting()
    world.request()
    world.attempts[0].respond(302, b"", (b"location", b"https://b.test/"))
    passed(world, "unsafe_scheme")
    world, policy = redirecting()
    policy.allow_cross_scheme_redirect = True
    world.request()
    world.attempts[0].respond(302, b"", (b"location", b"https://b.test/"))
    assert world.manager.recreated is not None


def test_too_many() -> None:
    world, _ = redirecting()
    world.manager.stream_info.filter_state = {REDIRECTS_KEY: RedirectCount(1)}
    world.request()
    world.attempts[0].respond(302, b"", (b"location", b"http://b.test/"))
    passed(world, "too_many_redirects")


def test_without_a_route() -> None:
    world, _ = redirecting()
    world.manager.routes = [world.route, None]
    headers = world.request((b"a", b"b"))
    world.attempts[0].respond(302, b"", (b"location", b"http://b.test/to"))
    passed(world, "no_route")
    assert (headers.authority, headers.path, headers.get(b"a")) == (b"a.test", b"/", b"b")


def test_while_the_request_is_incomplete() -> None:
    world, _ = redirecting()
    world.request(method=b"POST", end=False)
    world.attempts[0].respond(302, b"", (b"location", b"http://b.test/"))
    assert world.manager.recreated is None and world.manager.status == 302


def test_with_more_body_than_can_be_kept() -> None:
    world, _ = redirecting()
    world.request(method=b"POST", end=False)
    world.send(b"x" * 1001, True)
    world.attempts[0].respond(302, b"", (b"location", b"http://b.test/"))
    assert world.manager.recreated is None and world.manager.status == 302
    assert world.up("retry_or_shadow_abandoned") == 1


def test_predicates() -> None:
    world, policy = redirecting()
    policy.predicates = [AllowListedRoutesFactory(frozenset(["elsewhere"]))]
    headers = world.request()
    world.attempts[0].respond(302, b"", (b"location", b"http://b.test/"))
    passed(world, "predicate")
    assert headers.authority == b"a.test"


def test_previous_routes() -> None:
    world, _ = redirecting()
    info = world.manager.stream_info
    factory = PreviousRoutesFactory()
    assert factory.create("from").accept_target_route(info, "to", False, False)
    assert not factory.create("from").accept_target_route(info, "to", False, False)
    assert factory.create("from").accept_target_route(info, "else", False, False)
    assert factory.create("other").accept_target_route(info, "to", False, False)


def test_safe_cross_scheme() -> None:
    info = World().manager.stream_info
    predicate = SafeCrossSchemeFactory().create("from")
    assert not predicate.accept_target_route(info, "to", False, True)
    assert predicate.accept_target_route(info, "to", True, False)
    assert predicate.accept_target_route(info, "to", False, False)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (b"http://b", (b"http", b"b", b"/")),
        (b"HTTPS://b:1/x?y#z", (b"https", b"b:1", b"/x?y")),
        (b"http://b?y=1", (b"http", b"b", b"/?y=1")),
        (b"http://b#f", (b"http", b"b", b"/")),
        (b"b/x", None),
    ],
)
def test_split_url(url: bytes, expected: tuple[bytes, bytes, bytes] | None) -> None:
    assert split_url(url) == expected
