"""`GrpcJsonTranscoder` of the filter or of a route, as plain objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.extensions.filters.http.grpc_json_transcoder.json_writer import JsonWriter, PrintOptions
from outrider.extensions.filters.http.grpc_json_transcoder.methods import Method, add_rpc_status, load_pool, register
from outrider.extensions.filters.http.grpc_json_transcoder.path_matcher import (
    UNESCAPE_ALL,
    UNESCAPE_EXCEPT_RESERVED,
    UNESCAPE_EXCEPT_SLASH,
    PathMatcher,
)
from outrider.extensions.filters.http.grpc_json_transcoder.request import RequestOptions
from outrider.extensions.filters.http.grpc_json_transcoder.response import STREAM_ARRAY, STREAM_EVENTS, STREAM_LINES
from outrider.stats.metrics import Gauge
from outrider.stats.store import Scope

if TYPE_CHECKING:
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message

    from outrider.config.view import View

_UNESCAPE: Final = {
    "ALL_CHARACTERS_EXCEPT_RESERVED": UNESCAPE_EXCEPT_RESERVED,
    "ALL_CHARACTERS_EXCEPT_SLASH": UNESCAPE_EXCEPT_SLASH,
    "ALL_CHARACTERS": UNESCAPE_ALL,
}


class TranscoderStats:
    """Bytes that filters hold at the moment."""

    __slots__ = ("request_bytes", "response_bytes")

    def __init__(self, scope: Scope) -> None:
        self.request_bytes: Gauge = scope.gauge("transcoder_request_buffer_bytes")
        self.response_bytes: Gauge = scope.gauge("transcoder_response_buffer_bytes")


class TranscoderSettings:
    """What the filter does; `enabled` is False where no service is named."""

    __slots__ = (
        "enabled", "matcher", "pool", "writer", "style", "request", "match_incoming_route", "ignore_unknown",
        "capture_unknown", "convert_status", "reject_unknown_method", "reject_unknown_parameters", "max_request",
        "max_response", "status_class",
    )  # fmt: skip

    def __init__(self, view: View) -> None:
        """Raises ConfigError."""
        services = view.texts("services")
        self.enabled = bool(services)
        self.match_incoming_route = view.flag("match_incoming_request_route")
        self.ignore_unknown = view.flag("ignore_unknown_query_parameters")
        self.capture_unknown = view.flag("capture_unknown_query_parameters")
        self.convert_status = view.flag("convert_grpc_status")
        # Bytes; None = the stream's buffer limit.
        self.max_request: int | None = view.integer("max_request_body_size", -1)
        if self.max_request == -1:
            self.max_request = None
        self.max_response: int | None = view.integer("max_response_body_size", -1)
        if self.max_response == -1:
            self.max_response = None
        validation = view.message("request_validation_options")
        self.reject_unknown_method = validation is not None and validation.flag("reject_unknown_method")
        self.reject_unknown_parameters = validation is not None and validation.flag("reject_unknown_query_parameters")
        collisions = validation is not None and validation.flag("reject_binding_body_field_collisions")
        self.matcher: PathMatcher[Method] = PathMatcher(
            _UNESCAPE[view.enum("url_unescape_spec")],
            view.flag("query_param_unescape_plus"),
            view.flag("match_unregistered_custom_verb"),
            frozenset(view.texts("ignored_query_parameters")),
        )
        self.pool = self._load(view)
        self.request = RequestOptions(self.pool, view.flag("case_insensitive_enum_parsing"), collisions)
        self.style = STREAM_ARRAY
        self.writer = JsonWriter(self._print_options(view.message("print_options")), self.pool)
        self.status_class: type[Message] | None = None
        if self.convert_status:
            self.status_class = add_rpc_status(self.pool)
        register(self.matcher, self.pool, services, view.flag("auto_mapping"), view)

    def _load(self, view: View) -> DescriptorPool:
        kind = view.which("descriptor_set")
        if kind == "proto_descriptor":
            path = view.text(kind)
            if not self.enabled:
                return load_pool(b"", view, kind)
            try:
                with open(path, "rb") as file:
                    return load_pool(file.read(), view, kind)
            except OSError as error:
                raise view.error(f"Invalid path: {path} ({error.strerror})", kind) from None
        if kind == "proto_descriptor_bin":
            return load_pool(view.data(kind), view, kind)
        if self.enabled:
            raise view.error("transcoding_filter: descriptor not set")
        return load_pool(b"", view, "descriptor_set")

    def _print_options(self, view: View | None) -> PrintOptions:
        if view is None:
            return PrintOptions(False, False, False, False)
        if view.flag("stream_newline_delimited"):
            self.style = STREAM_LINES
        if view.flag("stream_sse_style_delimited") and self.style == STREAM_ARRAY:
            self.style = STREAM_EVENTS
        return PrintOptions(
            view.flag("add_whitespace"),
            view.flag("always_print_primitive_fields"),
            view.flag("always_print_enums_as_ints"),
            view.flag("preserve_proto_field_names"),
        )
