"""Configuration of ext_proc, for the filter and for routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.extensions.attributes import split_path
from outrider.extensions.filters.http.ext_proc.direction import FULL_DUPLEX, NONE
from outrider.extensions.filters.http.ext_proc.filter import ExtProcFilter
from outrider.extensions.filters.http.ext_proc.over_http import HttpProcessor
from outrider.extensions.filters.http.ext_proc.stats import ExtProcStats
from outrider.grpc.client import GrpcClient
from outrider.grpc.factory import grpc_client
from outrider.http.filter import HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS, route_config
from outrider.http.mutation_rules import MutationRules
from outrider.matching.string_matcher import AnyOfStrings, StringMatcher, parse_string_matcher

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"
ROUTE_TYPE: Final = "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
_BODY_NUMBERS: Final = {"NONE": 0, "STREAMED": 1, "BUFFERED": 2, "BUFFERED_PARTIAL": 3, "FULL_DUPLEX_STREAMED": 4}
_BODY_NAMES: Final = ("NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED")
_HEADER_NAMES: Final = ("DEFAULT", "SEND", "SKIP")


class ProcessingMode:
    __slots__ = (
        "request_headers", "response_headers", "request_body", "response_body", "request_trailers", "response_trailers",
    )  # fmt: skip

    def __init__(self) -> None:
        self.request_headers = "DEFAULT"
        self.response_headers = "DEFAULT"
        self.request_body = NONE
        self.response_body = NONE
        self.request_trailers = "DEFAULT"
        self.response_trailers = "DEFAULT"

    @classmethod
    def from_view(cls, view: View | None) -> ProcessingMode:
        """Raises ConfigError."""
        made = cls()
        if view is None:
            return made
        made.request_headers = view.enum("request_header_mode")
        made.response_headers = view.enum("response_header_mode")
        made.request_body = view.enum("request_body_mode")
        made.response_body = view.enum("response_body_mode")
        made.request_trailers = view.enum("request_trailer_mode")
        made.response_trailers = view.enum("response_trailer_mode")
        for field in ("request", "response"):
            body, trailers = getattr(made, f"{field}_body"), getattr(made, f"{field}_trailers")
            if body == "GRPC":
                raise view.error("GRPC is not supported", f"{field}_body_mode")
            if body == FULL_DUPLEX and trailers != "SEND":
                raise view.error(
                    f"If the ext_proc filter has the {field}_body_mode set to FULL_DUPLEX_STREAMED, "
                    f"then the {field}_trailer_mode has to be set to SEND",
                    f"{field}_trailer_mode",
                )
        return made

    def overridden(self, wanted: Any) -> ProcessingMode:
        """With a `mode_override` of the processor; DEFAULT says nothing."""
        made = ProcessingMode()
        made.request_headers = _choice(wanted.request_header_mode, self.request_headers)
        made.response_headers = _choice(wanted.response_header_mode, self.response_headers)
        made.request_trailers = _choice(wanted.request_trailer_mode, self.request_trailers)
        made.response_trailers = _choice(wanted.response_trailer_mode, self.response_trailers)
        made.request_body = _body(wanted.request_body_mode)
        made.response_body = _body(wanted.response_body_mode)
        return made

    def same_choice(self, other: ProcessingMode) -> bool:
        """All but the request headers, which are past when it matters."""
        return (
            self.response_headers == other.response_headers
            and self.request_body == other.request_body
            and self.response_body == other.response_body
            and self.request_trailers == other.request_trailers
            and self.response_trailers == other.response_trailers
        )

    def headers_only(self) -> bool:
        return (
            self.request_body == NONE == self.response_body
            and self.request_trailers != "SEND"
            and self.response_trailers != "SEND"
        )


def _choice(number: int, old: str) -> str:
    return _HEADER_NAMES[number] if 0 < number < len(_HEADER_NAMES) else old


def _body(number: int) -> str:
    return _BODY_NAMES[number] if 0 <= number < len(_BODY_NAMES) else NONE


class ExtProcSettings:
    """One configured filter. Raises ConfigError."""

    def __init__(self, config: View, context: FactoryContext) -> None:
        self.server = context.server
        self.direction = context.traffic_direction
        prefix = config.text("stat_prefix")
        self.stats = ExtProcStats(context.scope.scope(f"ext_proc.{prefix}." if prefix else "ext_proc."))
        grpc, over_http = config.message("grpc_service"), config.message("http_service")
        if (grpc is None) == (over_http is None):
            raise config.error("One and only one of ext_proc grpc_service or http_service must be configured")
        self.client: GrpcClient | None = None if grpc is None else grpc_client(grpc, context)
        self.http: HttpProcessor | None = None
        self.mode = ProcessingMode.from_view(config.message("processing_mode"))
        if over_http is not None:
            service = over_http.message("http_service")
            if service is None:
                raise over_http.error("value is required", "http_service")
            if not self.mode.headers_only():
                raise config.error(
                    "If the ext_proc filter is configured with http_service instead of gRPC service, then the "
                    "processing modes of this filter can not be configured to send body or trailer."
                )
            self.http = HttpProcessor(service, context)
        self.failure_mode_allow = config.flag("failure_mode_allow")
        timeout = config.millis("message_timeout")
        self.message_timeout_ms = 200 if timeout is None else timeout
        self.max_timeout_ms = config.millis("max_message_timeout") or 0
        rules = config.message("mutation_rules")
        self.rules = MutationRules() if rules is None else MutationRules.from_view(rules)
        self.rules.envoy_prefix = context.server.header_prefix.encode()
        forward = config.message("forward_rules")
        self.allowed = None if forward is None else _matcher(forward.message("allowed_headers"), context)
        self.disallowed = None if forward is None else _matcher(forward.message("disallowed_headers"), context)
        self.allow_override = config.flag("allow_mode_override")
        self.allowed_modes = [ProcessingMode.from_view(each) for each in config.messages("allowed_override_modes")]
        self.disable_immediate = config.flag("disable_immediate_response")
        self.observability = config.flag("observability_mode")
        deferred = config.millis("deferred_close_timeout")
        self.deferred_close_ms = 5000 if deferred is None else deferred
        self.early_body = config.flag("send_body_without_waiting_for_header_response")
        self.allow_content_length = config.flag("allow_content_length_header")
        self.route_cache = config.enum("route_cache_action")
        if config.flag("disable_clear_route_cache"):
            if self.route_cache != "DEFAULT":
                raise config.error(
                    "disable_clear_route_cache and route_cache_action can not be set to none-default at the same time."
                )
            self.route_cache = "RETAIN"
        self.forwarding, self.receiving = _namespaces(config.message("metadata_options"))
        self.request_attributes = _attributes(config, "request_attributes")
        self.response_attributes = _attributes(config, "response_attributes")
        status = config.message("status_on_error")
        self.status_on_error = 500
        if status is not None:
            status.enum("code")
            self.status_on_error = int(getattr(status.proto, "code", 0)) or 500
        # Shown by nothing but filters in C++.
        config.accept("filter_metadata")

    def body_number(self, mode: str) -> int:
        return _BODY_NUMBERS[mode]

    def closing_time(self) -> int:
        """How long the processor may take to end a stream that has served, in milliseconds."""
        return 1000


class RouteOverrides:
    """What routes say, most specific first."""

    __slots__ = ("mode", "client", "metadata", "forwarding", "receiving", "failure_mode_allow")

    def __init__(self) -> None:
        self.mode: ProcessingMode | None = None
        self.client: GrpcClient | None = None
        self.metadata: list[tuple[bytes, bytes]] = []
        self.forwarding: list[str] | None = None
        self.receiving: list[str] | None = None
        self.failure_mode_allow: bool | None = None


class ExtProcRoute:
    """One ExtProcPerRoute; `overrides` None: disabled."""

    __slots__ = ("overrides",)

    def __init__(self, overrides: RouteOverrides | None) -> None:
        self.overrides = overrides


def merge_routes(levels: list[ExtProcRoute]) -> RouteOverrides | None:
    """From the least specific to the most specific. None: disabled."""
    merged: RouteOverrides | None = RouteOverrides()
    for level in levels:
        more = level.overrides
        if more is None:
            merged = None
            continue
        less = merged or RouteOverrides()
        made = RouteOverrides()
        made.mode = more.mode or less.mode
        made.client = more.client or less.client
        names = {name for name, _ in more.metadata}
        made.metadata = more.metadata + [each for each in less.metadata if each[0] not in names]
        made.forwarding = less.forwarding if more.forwarding is None else more.forwarding
        made.receiving = less.receiving if more.receiving is None else more.receiving
        allow = more.failure_mode_allow
        made.failure_mode_allow = less.failure_mode_allow if allow is None else allow
        merged = made
    return merged


class ExtProcFactory(HttpFilterFactory):
    def __init__(self, settings: ExtProcSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return ExtProcFilter(self.settings)


def _matcher(view: View | None, context: FactoryContext) -> StringMatcher | None:
    if view is None:
        return None
    return AnyOfStrings([parse_string_matcher(each, context) for each in view.messages("patterns")])


def _namespaces(view: View | None) -> tuple[list[str], list[str]]:
    """Typed metadata does not exist here; nothing of that kind is ever forwarded or taken."""
    made: list[list[str]] = []
    for name in ("forwarding_namespaces", "receiving_namespaces"):
        chosen = None if view is None else view.message(name)
        made.append([] if chosen is None else chosen.texts("untyped"))
        if chosen is not None:
            chosen.texts("typed")
    return made[0], made[1]


def _attributes(config: View, field: str) -> list[tuple[str, list[str]]]:
    made: list[tuple[str, list[str]]] = []
    for name in config.texts(field):
        path = split_path(name)
        if path is None:
            raise config.error(f"'{name}' is not the path of an attribute; expressions are not supported", field)
        made.append((name, path))
    return made


@HTTP_FILTERS.register("envoy.filters.http.ext_proc", TYPE, "envoy.ext_proc")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return ExtProcFactory(ExtProcSettings(config, context))


@route_config(ROUTE_TYPE)
def create_for_route(config: View, context: FactoryContext) -> ExtProcRoute:
    """Raises ConfigError."""
    if config.which("override") == "disabled":
        if not config.flag("disabled"):
            raise config.error("value must equal true", "disabled")
        return ExtProcRoute(None)
    view = config.message("overrides")
    if view is None:
        raise config.error("value is required", "override")
    made = RouteOverrides()
    mode = view.message("processing_mode")
    made.mode = None if mode is None else ProcessingMode.from_view(mode)
    grpc = view.message("grpc_service")
    made.client = None if grpc is None else grpc_client(grpc, context)
    for header in view.messages("grpc_initial_metadata"):
        made.metadata.append((header.text("key").lower().encode(), header.text("value").encode()))
    options = view.message("metadata_options")
    if options is not None:
        made.forwarding, made.receiving = _namespaces(options)
    if view.has("failure_mode_allow"):
        made.failure_mode_allow = view.flag("failure_mode_allow")
    # Not implemented by Envoy either.
    view.accept("async_mode", "request_attributes", "response_attributes")
    return ExtProcRoute(made)
