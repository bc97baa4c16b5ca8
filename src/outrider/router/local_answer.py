"""Answers that the router gives without (or in place of) an upstream response.

Source: Envoy documentation, "Response code details", "HTTP response flags", router filter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.header_map import ResponseHeaderMap
from outrider.data.header_names import CONTENT_TYPE, LOCATION, X_ENVOY_ATTEMPT_COUNT, X_ENVOY_OVERLOADED
from outrider.data.response_flag import (
    DOWNSTREAM_PROTOCOL_ERROR,
    DROP_OVERLOAD,
    INVALID_ENVOY_REQUEST_HEADERS,
    NO_CLUSTER_FOUND,
    NO_HEALTHY_UPSTREAM,
    NO_ROUTE_FOUND,
    UNCONDITIONAL_DROP_OVERLOAD,
    UPSTREAM_OVERFLOW,
)
from outrider.http.filter import LocalReplyModifier
from outrider.router import charge
from outrider.router.config.redirect import DirectResponseRoute, RedirectRoute
from outrider.router.header_steering import header_is_valid
from outrider.router.reset_reason import without_spaces

if TYPE_CHECKING:
    from outrider.router.filter import RouterFilter

X_ENVOY_DROP_OVERLOAD: Final = b"x-envoy-drop-overload"
X_ENVOY_UNCONDITIONAL_DROP_OVERLOAD: Final = b"x-envoy-unconditional-drop-overload"
NO_GRPC_STATUS: Final = -1


class RouterReply(LocalReplyModifier):
    """Headers of a local reply by the router: overload marks and the attempt count."""

    __slots__ = ("router", "mark")

    def __init__(self, router: RouterFilter, mark: bytes = b"") -> None:
        self.router = router
        # Name of a header to set to "true"; empty for none.
        self.mark = mark

    def modify(self, headers: ResponseHeaderMap) -> None:
        router = self.router
        if self.mark and not router.config.suppress_envoy_headers:
            headers.set(self.mark, b"true")
        # Only once the request was about to be sent does a count make sense.
        if router.attempted and router.entry.virtual_host.include_attempt_count_in_response:
            headers.set(X_ENVOY_ATTEMPT_COUNT, b"%d" % router.attempt)


class RedirectReply(LocalReplyModifier):
    """Headers of a redirect or direct response."""

    __slots__ = ("router", "route", "location", "body_type")

    def __init__(
        self, router: RouterFilter, route: RedirectRoute | DirectResponseRoute, location: bytes, body_type: bytes
    ) -> None:
        self.router = router
        self.route = route
        self.location = location
        self.body_type = body_type

    def modify(self, headers: ResponseHeaderMap) -> None:
        if self.location:
            headers.set(LOCATION, self.location)
        self.route.finalize_response_headers(headers, self.router.headers, self.router.manager.stream_info)
        if self.body_type:
            # Whatever the edits say: the format knows its type. It comes last, as with Envoy.
            headers.remove(CONTENT_TYPE)
            headers.set(CONTENT_TYPE, self.body_type)


class CopiedReply(LocalReplyModifier):
    """A local reply with the headers of an upstream response."""

    __slots__ = ("source",)

    def __init__(self, source: ResponseHeaderMap) -> None:
        self.source = source

    def modify(self, headers: ResponseHeaderMap) -> None:
        for name, value in self.source.items():
            headers.add(name, value)


def answer_without_upstream(router: RouterFilter, route: object) -> None:
    """No route, or one that answers by itself."""
    manager = router.manager
    config = router.config
    if isinstance(route, RedirectRoute):
        # Envoy counts redirects among the direct responses.
        config.stats.rq_direct_response.inc()
        location = route.new_location(router.headers, manager.stream_info)
        reply = RedirectReply(router, route, location, b"")
        manager.send_local_reply_full(route.code, "", reply, NO_GRPC_STATUS, "direct_response")
    elif isinstance(route, DirectResponseRoute):
        config.stats.rq_direct_response.inc()
        location = b""
        if route.code == 201 or 300 <= route.code < 400:
            headers = router.headers
            location = headers.scheme + b"://" + headers.authority + headers.path
        body = route.response_body(router.headers, ResponseHeaderMap(status=route.code), manager.stream_info)
        content_type = route.content_type if route.body_format is not None else b""
        reply = RedirectReply(router, route, location, content_type)
        text = body.decode("utf-8", "surrogateescape")
        manager.send_local_reply_full(route.code, text, reply, NO_GRPC_STATUS, "direct_response")
    elif route is None:
        config.stats.no_route.inc()
        manager.stream_info.response_flags |= NO_ROUTE_FOUND
        manager.send_local_reply(404, "", "route_not_found")
    else:
        # `non_forwarding_action`: to Envoy a route to a cluster without a name.
        config.stats.no_cluster.inc()
        manager.stream_info.response_flags |= NO_CLUSTER_FOUND
        manager.send_local_reply(503, "", "cluster_not_found")


def no_cluster(router: RouterFilter) -> None:
    router.config.stats.no_cluster.inc()
    router.manager.stream_info.response_flags |= NO_CLUSTER_FOUND
    router.manager.send_local_reply(router.entry.cluster_not_found_code, "", "cluster_not_found")


def refuse_invalid_header(router: RouterFilter, names: list[bytes]) -> bool:
    """`strict_check_headers`: True when the request was refused."""
    headers = router.headers
    for name in names:
        value = headers.get(name)
        if value is not None and not header_is_valid(name, value):
            manager = router.manager
            manager.stream_info.response_flags |= INVALID_ENVOY_REQUEST_HEADERS
            text = name.decode()
            manager.send_local_reply(
                400,
                f"invalid header '{text}' with value '{value.decode('utf-8', 'surrogateescape')}'",
                f"request_headers_failed_strict_check{{{text}}}",
            )
            return True
    return False


def under_maintenance(router: RouterFilter) -> bool:
    """Runtime `upstream.maintenance_mode.<cluster>`: True when the request was refused."""
    config = router.config
    info = router.cluster_info
    if not config.runtime.feature_enabled(info.maintenance_key, 0, config.random_value()):
        return False
    router.manager.stream_info.response_flags |= UPSTREAM_OVERFLOW
    charge.charge_code(router, 503, False, None, True)
    _reply(router, 503, "maintenance mode", X_ENVOY_OVERLOADED, "maintenance_mode")
    info.stats.upstream_rq_maintenance_mode.inc()
    return True


def dropped_for_overload(router: RouterFilter) -> bool:
    """`drop_overloads` of the cluster's endpoints: True when this request was dropped."""
    config = router.config
    if router.cluster_info.drop_overload >= 100.0:
        router.manager.stream_info.response_flags |= UNCONDITIONAL_DROP_OVERLOAD
        charge.charge_code(router, 503, False, None, True)
        name = "unconditional drop overload"
        _reply(router, 503, name, X_ENVOY_UNCONDITIONAL_DROP_OVERLOAD, name.replace(" ", "_"))
        return True
    if config.random_value() % 1_000_000 >= int(router.cluster_info.drop_overload * 10_000):
        return False
    router.manager.stream_info.response_flags |= DROP_OVERLOAD
    charge.charge_code(router, 503, False, None, True)
    _reply(router, 503, "drop overload", X_ENVOY_DROP_OVERLOAD, "drop_overload")
    return True


def no_healthy_upstream(router: RouterFilter) -> None:
    router.manager.stream_info.response_flags |= NO_HEALTHY_UPSTREAM
    charge.charge_code(router, 503, False, None, False)
    _reply(router, 503, "no healthy upstream", b"", "no_healthy_upstream")


def request_exceeded_retry_buffer(router: RouterFilter) -> None:
    _reply(
        router,
        507,
        "exceeded request buffer limit while retrying upstream",
        b"",
        "request_payload_exceeded_retry_buffer_limit",
    )


def required_headers_missing(router: RouterFilter, text: str) -> None:
    """The codec cannot send the request: some filter has removed a header that it needs."""
    manager = router.manager
    manager.stream_info.response_flags |= DOWNSTREAM_PROTOCOL_ERROR
    manager.send_local_reply(503, text, f"filter_removed_required_request_headers{{{without_spaces(text)}}}")


def early_connect_data(router: RouterFilter) -> None:
    """`reject_connect_request_early_data`: payload came before CONNECT was accepted."""
    router.done = True
    router.manager.send_local_reply(400, "", "early_connect_data")


def websocket_refused(router: RouterFilter, headers: ResponseHeaderMap) -> None:
    """Upstream answered the upgrade with neither an upgrade nor an error: its headers are the answer."""
    router.manager.send_local_reply_full(
        headers.status, "", CopiedReply(headers), NO_GRPC_STATUS, "websocket_handshake_unsuccessful"
    )


def abort(router: RouterFilter, code: int, flag: int, body: str, dropped: bool, details: str) -> None:
    """No attempt is left: a local reply, or a reset when the response has begun (the filter manager decides)."""
    router.manager.stream_info.response_flags |= flag
    _reply(router, code, body, X_ENVOY_OVERLOADED if dropped else b"", details)


def _reply(router: RouterFilter, code: int, body: str, mark: bytes, details: str) -> None:
    router.done = True
    router.manager.send_local_reply_full(code, body, RouterReply(router, mark), NO_GRPC_STATUS, details)
