"""envoy.filters.http.custom_response: responses that a matcher picks are replaced by an answer of the proxy.

Source: Envoy documentation, "Custom Response Filter". Policies: `local_response_policy`, and `redirect_policy`, which
serves the request anew as a GET of another URL and gives the outcome as the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from outrider.access_log.context import FormatContext
from outrider.access_log.format_string import FormatString, parse_format_string
from outrider.config.data_source import read_data_source
from outrider.data.filter_state import FilterStateObject
from outrider.data.header_map import ResponseHeaderMap
from outrider.data.header_names import CONTENT_LENGTH
from outrider.http.filter import (
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    HttpFilter,
    HttpFilterFactory,
    LocalReplyModifier,
)
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.http.header_mutation import HeaderParser

# Registers the inputs and input matchers that a tree may name.
from outrider.matching import input_matchers, inputs, tls_inputs  # noqa: F401
from outrider.matching.data import MatchingData
from outrider.matching.tree import MatchTree
from outrider.matching.tree_loader import ActionLoader, load_tree

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.http.custom_response.v3.CustomResponse"
_REDIRECT: Final = "envoy.extensions.http.custom_response.redirect_policy.v3.RedirectPolicy"
_STATE_KEY: Final = "envoy.filters.http.custom_response"
_LOCAL: Final = "envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy"


class LocalResponsePolicy:
    """Raises ConfigError."""

    __slots__ = ("body", "format", "status", "headers", "details", "keep_details")

    def __init__(self, view: View, context: FactoryContext) -> None:
        source = view.message("body")
        # None: what the format makes, or nothing.
        self.body: bytes | None = None if source is None else read_data_source(source)
        body_format = view.message("body_format")
        self.format: FormatString | None = None if body_format is None else parse_format_string(body_format, context)
        # 0: unchanged.
        self.status = view.integer("status_code")
        if view.has("status_code") and not 200 <= self.status < 600:
            raise view.error("value must be inside range [200, 600)", "status_code")
        self.headers = HeaderParser.from_views(view.messages("response_headers_to_add"))
        self.details = view.text("response_code_details")
        self.keep_details = view.flag("preserve_response_code_details")


class RedirectPolicy:
    """Raises ConfigError."""

    __slots__ = ("host", "path", "status", "request_headers", "response_headers", "no_route")

    def __init__(self, view: View, context: FactoryContext) -> None:
        action = view.message("redirect_action")
        if action is not None:
            self.host, self.path = _redirected(action)
        else:
            parts = urlsplit(view.text("uri"))
            if not parts.scheme or not parts.netloc:
                raise view.error(
                    f"Invalid uri specified for redirection for custom response: {view.text('uri')}", "uri"
                )
            self.host = parts.netloc.encode()
            self.path = (parts.path or "/").encode() + (b"?" + parts.query.encode() if parts.query else b"")
        # 0: that of the response which is replaced.
        self.status = view.integer("status_code")
        if view.has("status_code") and not 100 <= self.status < 600:
            raise view.error("value must be inside range [100, 599]", "status_code")
        self.request_headers = HeaderParser.from_views(view.messages("request_headers_to_add"))
        self.response_headers = HeaderParser.from_views(view.messages("response_headers_to_add"))
        self.no_route = context.scope.counter("custom_response_redirect_no_route")


def _redirected(view: View) -> tuple[bytes, bytes]:
    """Host and path of a `RedirectAction`."""
    host = view.text("host_redirect")
    if not host:
        raise view.error("value is required", "host_redirect")
    port = view.integer("port_redirect")
    # The scheme stays that of the request.
    view.accept("https_redirect", "scheme_redirect")
    return (f"{host}:{port}" if port else host).encode(), (view.text("path_redirect") or "/").encode()


class RedirectedResponse(FilterStateObject):
    """Left for the stream that serves the other URL."""

    def __init__(self, policy: RedirectPolicy, status: int) -> None:
        self.policy = policy
        # Of the response that is replaced.
        self.status = status


class _Actions(ActionLoader):
    def __init__(self, context: FactoryContext) -> None:
        self.context = context

    def load(self, action: View) -> object:
        name, type_name = action.text("name"), action.any_type("typed_config")
        if type_name == _LOCAL:
            return LocalResponsePolicy(action.any("typed_config"), self.context)
        if type_name == _REDIRECT:
            return RedirectPolicy(action.any("typed_config"), self.context)
        raise action.error(
            f"Didn't find a registered implementation for '{name}' with type URL: '{type_name}'", "typed_config"
        )


class _Edits(LocalReplyModifier):
    def __init__(self, policy: LocalResponsePolicy, context: FormatContext) -> None:
        self.policy = policy
        self.context = context

    def modify(self, headers: ResponseHeaderMap) -> None:
        self.policy.headers.evaluate_headers(headers, self.context)


class CustomResponseFilter(HttpFilter):
    __slots__ = ("tree",)

    def __init__(self, tree: MatchTree | None) -> None:
        self.tree = tree

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        manager = self.manager
        tree = self.tree
        route = manager.route()
        special = None if route is None else route.per_filter_config(self.config_name)
        if isinstance(special, CustomResponseFactory):
            tree = special.tree
        if tree is None:
            return HEADERS_CONTINUE
        info = manager.stream_info
        redirected = (info.filter_state or {}).get(_STATE_KEY)
        if isinstance(redirected, RedirectedResponse):
            wanted = redirected.policy
            wanted.response_headers.evaluate_headers(
                headers, FormatContext(info, manager.request_headers, headers, None, b"")
            )
            headers.status = wanted.status or redirected.status
            return HEADERS_CONTINUE
        policy = tree.evaluate(MatchingData(info, manager.request_headers, headers))
        if isinstance(policy, RedirectPolicy):
            return HEADERS_STOP_ITERATION if self._redirect(policy, headers) else HEADERS_CONTINUE
        if not isinstance(policy, LocalResponsePolicy):
            return HEADERS_CONTINUE
        body = policy.body or b""
        context = FormatContext(info, manager.request_headers, headers, None, body)
        if policy.format is not None:
            body = policy.format.formatter.format_bytes(context)
        details = info.response_code_details if policy.keep_details else policy.details
        text = body.decode("utf-8", "surrogateescape")
        manager.send_local_reply_full(policy.status or headers.status, text, _Edits(policy, context), -1, details)
        return HEADERS_STOP_ITERATION


    def _redirect(self, policy: RedirectPolicy, headers: ResponseHeaderMap) -> bool:
        """False: it cannot be done, the response stays."""
        manager = self.manager
        request = manager.request_headers
        if request is None:
            return False
        before = (request.authority, request.path, request.method)
        request.authority, request.path = policy.host, policy.path
        manager.clear_route_cache()
        info = manager.stream_info
        if manager.route() is None:
            policy.no_route.inc()
        else:
            length = request.get(CONTENT_LENGTH)
            policy.request_headers.evaluate_headers(request, FormatContext(info, request, headers, None, b""))
            request.method = b"GET"
            request.remove(CONTENT_LENGTH)
            if info.filter_state is None:
                info.filter_state = {}
            info.filter_state[_STATE_KEY] = RedirectedResponse(policy, headers.status)
            if manager.recreate_stream(request):
                return True
            del info.filter_state[_STATE_KEY]
            if length is not None:
                request.set(CONTENT_LENGTH, length)
        request.authority, request.path, request.method = before
        return False


class CustomResponseFactory(HttpFilterFactory):
    """Also the configuration of a route."""

    def __init__(self, tree: MatchTree | None) -> None:
        self.tree = tree

    def create(self) -> HttpFilter:
        return CustomResponseFilter(self.tree)


@HTTP_FILTERS.register("envoy.filters.http.custom_response", TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    matcher = config.message("custom_response_matcher")
    return CustomResponseFactory(None if matcher is None else load_tree(matcher, _Actions(context), context))


@route_config(TYPE)
def create_for_route(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return create(config, context)
