"""Internal redirects: a redirect response from upstream that the proxy follows itself.

Source: Envoy documentation, "HTTP connection management: internal redirects"; RFC 9110 section 15.4.4 for 303.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.filter_state import FilterStateObject
from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_LENGTH, LOCATION
from outrider.router.config.internal_redirect import InternalRedirectPolicy
from outrider.router.config.route import Route
from outrider.router.config.route_entry import RouteEntry

if TYPE_CHECKING:
    from outrider.router.filter import RouterFilter

X_ENVOY_ORIGINAL_URL: Final = b"x-envoy-original-url"
# Filter state: how often the request has been redirected; it survives into the next stream.
REDIRECTS_KEY: Final = "num_internal_redirects"


class RedirectCount(FilterStateObject):
    """How often a request has been redirected."""

    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        self.count = count

    def serialize_typed(self) -> object:
        return self.count


def follow(router: RouterFilter, policy: InternalRedirectPolicy, response: ResponseHeaderMap) -> bool:
    """Try to run the request again as the response's location says. False: the response is forwarded as it is."""
    location = response.get(LOCATION)
    manager = router.manager
    stats = router.cluster_info.stats
    if (
        router.request_complete_ns != 0
        and not router.buffer_overflowed
        and location is not None
        and _rewrite_request(router, policy, response, location)
    ):
        info = manager.stream_info
        info.response_code = response.status
        info.response_code_details = "internal_redirect"
        if manager.recreate_stream(router.headers):
            stats.upstream_internal_redirect_succeeded_total.inc()
            return True
    stats.upstream_internal_redirect_failed_total.inc()
    return False


def split_url(url: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Scheme, host with port, path with query (at least `/`, without fragment) of an absolute http(s) URL."""
    scheme, separator, rest = url.partition(b"://")
    scheme = scheme.lower()
    if not separator or scheme not in (b"http", b"https"):
        return None
    end = len(rest)
    for mark in (b"/", b"?", b"#"):
        found = rest.find(mark)
        if 0 <= found < end:
            end = found
    host = rest[:end]
    path = rest[end:].partition(b"#")[0]
    if not host or b"@" in host or b" " in url:
        return None
    if not path:
        path = b"/"
    elif path[:1] == b"?":
        path = b"/" + path
    return scheme, host, path


def _rewrite_request(
    router: RouterFilter, policy: InternalRedirectPolicy, response: ResponseHeaderMap, location: bytes
) -> bool:
    """Turn the request's headers into those of the redirected request; False leaves them as they were."""
    manager = router.manager
    stream_info = manager.stream_info
    stats = router.config.stats
    headers = router.headers
    target = split_url(location)
    if target is None:
        stats.passthrough_internal_redirect_bad_location.inc()
        return False
    scheme, host, path = target
    was_https = headers.scheme != b"http" and stream_info.connection.ssl is not None
    is_https = scheme == b"https"
    if was_https != is_https and not policy.allow_cross_scheme_redirect:
        stats.passthrough_internal_redirect_unsafe_scheme.inc()
        return False
    state = stream_info.filter_state
    if state is None:
        state = {}
        stream_info.filter_state = state
    count = state.get(REDIRECTS_KEY)
    redirects = count.count if isinstance(count, RedirectCount) else 0
    if redirects >= policy.max_internal_redirects:
        stats.passthrough_internal_redirect_too_many_redirects.inc()
        return False
    saved = headers.copy()
    for name in policy.response_headers_to_copy:
        headers.remove(name)
        for value in response.get_all(name):
            headers.add(name, value)
    headers.scheme = scheme
    headers.authority = host
    headers.path = path
    manager.clear_route_cache()
    route = manager.route()
    if not isinstance(route, Route):
        _note_cluster(router, None)
        stats.passthrough_internal_redirect_no_route.inc()
        _restore(headers, saved)
        return False
    _note_cluster(router, route)
    for factory in policy.predicates:
        if not factory.create(router.entry.name).accept_target_route(stream_info, route.name, was_https, is_https):
            stats.passthrough_internal_redirect_predicate.inc()
            _restore(headers, saved)
            return False
    if response.status == 303 and headers.method not in (b"GET", b"HEAD"):
        headers.method = b"GET"
        headers.remove(CONTENT_LENGTH)
        manager.modify_decoding_buffer(b"")
    state[REDIRECTS_KEY] = RedirectCount(redirects + 1)
    headers.set(X_ENVOY_ORIGINAL_URL, (b"https://" if was_https else b"http://") + saved.authority + saved.path)
    return True


def _note_cluster(router: RouterFilter, route: Route | None) -> None:
    """The log names the new route's cluster from here on, even when the redirect fails after all."""
    stream_info = router.manager.stream_info
    stream_info.cluster_name = route.cluster_name if isinstance(route, RouteEntry) else ""
    cluster = router.config.clusters.get(stream_info.cluster_name)
    stream_info.cluster = None if cluster is None else cluster.info
    if stream_info.upstream is not None:
        stream_info.upstream.cluster_name = stream_info.cluster_name


def _restore(headers: RequestHeaderMap, saved: RequestHeaderMap) -> None:
    headers.single = saved.single
    headers.multi = saved.multi
    headers.method = saved.method
    headers.path = saved.path
    headers.authority = saved.authority
    headers.scheme = saved.scheme
