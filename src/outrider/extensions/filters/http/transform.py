"""envoy.filters.http.transform: headers and bodies made from what JSON bodies say.

Source: `envoy.extensions.filters.http.transform.v3`. `%REQUEST_BODY(a:b)%` and `%RESPONSE_BODY(a:b)%` are values of the
bodies; they exist in this filter only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from outrider.access_log.context import FormatContext
from outrider.access_log.format_string import data_source_text
from outrider.access_log.formatter import LineFormatter, parse_format
from outrider.access_log.json_format import parse_json_format
from outrider.access_log.operation import FormatOp
from outrider.access_log.syntax import FormatError
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_LENGTH
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_AND_BUFFER,
    DATA_STOP_NO_BUFFER,
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    HttpFilter,
    HttpFilterFactory,
)
from outrider.http.filter_registry import HTTP_FILTERS, route_config

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.http.transform.v3.TransformConfig"


class Bodies:
    """The bodies of the stream whose transformation is being computed."""

    __slots__ = ("request", "response")

    def __init__(self) -> None:
        self.request: object = None
        self.response: object = None


class BodyOp(FormatOp):
    def __init__(self, bodies: Bodies, response: bool, path: list[str]) -> None:
        self.bodies = bodies
        self.response = response
        self.path = path

    def value(self, context: FormatContext) -> object:
        found = self.bodies.response if self.response else self.bodies.request
        for step in self.path:
            if not isinstance(found, dict):
                return None
            found = found.get(step)
        return found

    def text(self, context: FormatContext) -> bytes | None:
        found = self.value(context)
        if found is None:
            return None
        if isinstance(found, str):
            return found.encode("utf-8", "surrogateescape")
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        return json.dumps(found, separators=(",", ":")).encode()


Parser = Callable[[str, str, "int | None"], "FormatOp | None"]


def _parser(bodies: Bodies) -> Parser:
    def parse(command: str, argument: str, length: int | None) -> FormatOp | None:
        if command not in ("REQUEST_BODY", "RESPONSE_BODY"):
            return None
        return BodyOp(bodies, command == "RESPONSE_BODY", [part for part in argument.split(":") if part])

    return parse


class Edit:
    """One of `headers_mutations`. `formatter` None: the field is removed."""

    __slots__ = ("name", "formatter", "action")

    def __init__(self, view: View, parser: Parser) -> None:
        """Raises ConfigError."""
        self.formatter: LineFormatter | None = None
        self.action = ""
        kind = view.which("action")
        if kind == "remove":
            self.name = view.text("remove").lower().encode()
            return
        append = view.message("append") if kind == "append" else None
        header = None if append is None else append.message("header")
        if append is None or header is None:
            raise view.error("append or remove is required")
        self.name = header.text("key").lower().encode()
        self.action = append.enum("append_action")
        try:
            self.formatter = parse_format(header.text("value"), [parser], True)
        except FormatError as error:
            raise header.error(str(error), "value") from None

    def apply(self, headers: HeaderMap, context: FormatContext) -> None:
        if self.formatter is None:
            headers.remove(self.name)
            return
        exists = headers.contains(self.name)
        if (self.action == "ADD_IF_ABSENT" and exists) or (self.action == "OVERWRITE_IF_EXISTS" and not exists):
            return
        value = self.formatter.format_bytes(context)
        if not value or any(byte in value for byte in b"\r\n\0"):
            return
        if self.action.startswith("OVERWRITE"):
            headers.remove(self.name)
            headers.set(self.name, value)
        else:
            headers.add(self.name, value)


class Transformation:
    """Of one direction. Raises ConfigError."""

    __slots__ = ("edits", "body", "merges", "is_json")

    def __init__(self, view: View, parser: Parser) -> None:
        self.edits = [Edit(each, parser) for each in view.messages("headers_mutations")]
        self.body: LineFormatter | None = None
        self.merges = False
        self.is_json = False
        body = view.message("body_transformation")
        if body is None:
            return
        self.merges = body.enum("action") == "MERGE"
        held = body.message("body_format")
        if held is None:
            raise body.error("value is required", "body_format")
        kind = held.which("format")
        self.is_json = kind == "json_format"
        try:
            if kind == "json_format":
                self.body = parse_json_format(held.struct(kind) or {}, [parser], held.flag("omit_empty_values"))
            elif kind == "text_format_source":
                source = held.message(kind)
                assert source is not None
                self.body = parse_format(data_source_text(source), [parser], held.flag("omit_empty_values"))
            else:
                raise held.error("json_format or text_format_source is required")
        except FormatError as error:
            raise held.error(str(error), kind) from None
        if self.merges and not self.is_json:
            raise body.error("MERGE needs a json_format", "action")

    def new_body(self, old: object, context: FormatContext) -> bytes | None:
        """None: it stays."""
        if self.body is None:
            return None
        made = self.body.format_bytes(context)
        if not self.merges:
            return made
        if not isinstance(old, dict):
            return None
        whole = _merged(old, json.loads(made))
        return json.dumps(whole, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Objects are merged, everything else is replaced."""
    made = dict(old)
    for key, value in new.items():
        before = made.get(key)
        made[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return made


class TransformSettings:
    """Raises ConfigError."""

    __slots__ = ("bodies", "request", "response", "clears_route", "rq_transformed", "rs_transformed")

    def __init__(self, config: View, context: FactoryContext) -> None:
        self.bodies = Bodies()
        parser = _parser(self.bodies)
        request = config.message("request_transformation")
        response = config.message("response_transformation")
        self.request = None if request is None else Transformation(request, parser)
        self.response = None if response is None else Transformation(response, parser)
        self.clears_route = config.flag("clear_route_cache")
        # Envoy's names have a second dot before this.
        scope = context.scope.scope("http_transform.")
        self.rq_transformed = scope.counter("rq_transformed")
        self.rs_transformed = scope.counter("rs_transformed")


class TransformFilter(HttpFilter):
    def __init__(self, settings: TransformSettings) -> None:
        self.settings = settings
        self.counted = settings
        self.request_body: object = None
        self.waiting = {False: False, True: False}

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        route = self.manager.route()
        special = None if route is None else route.per_filter_config(self.config_name)
        if isinstance(special, TransformSettings):
            self.settings = special
        settings = self.settings
        if end_stream or (settings.request is None and settings.response is None):
            return HEADERS_CONTINUE
        self.waiting[False] = True
        return HEADERS_STOP_ITERATION

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        return self._data(False, data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> int:
        if self.waiting[False]:
            self._transform(False, self.manager.decoding_buffer() or b"")
        return TRAILERS_CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        if end_stream or self.settings.response is None:
            return HEADERS_CONTINUE
        self.waiting[True] = True
        return HEADERS_STOP_ITERATION

    def encode_data(self, data: bytes, end_stream: bool) -> int:
        return self._data(True, data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> int:
        if self.waiting[True]:
            self._transform(True, self.manager.encoding_buffer() or b"")
        return TRAILERS_CONTINUE

    def _data(self, response: bool, data: bytes, end_stream: bool) -> int:
        if not self.waiting[response]:
            return DATA_CONTINUE
        if not end_stream:
            return DATA_STOP_AND_BUFFER
        manager = self.manager
        if response:
            manager.add_encoded_data(self, data, False)
            self._transform(True, manager.encoding_buffer() or b"")
            self.continue_encoding()
        else:
            manager.add_decoded_data(self, data, False)
            self._transform(False, manager.decoding_buffer() or b"")
            self.continue_decoding()
        return DATA_STOP_NO_BUFFER

    def _transform(self, response: bool, data: bytes) -> None:
        """The body is there; what is no JSON object stays as it is."""
        self.waiting[response] = False
        settings, manager = self.settings, self.manager
        try:
            body: object = json.loads(data)
        except (ValueError, RecursionError):
            return
        if not response:
            self.request_body = body
        transformation = settings.response if response else settings.request
        headers: HeaderMap | None = manager.response_headers if response else manager.request_headers
        if transformation is None or headers is None:
            return
        bodies = settings.bodies
        bodies.request, bodies.response = self.request_body, body if response else None
        context = FormatContext(manager.stream_info, manager.request_headers, manager.response_headers, None, b"")
        (self.counted.rs_transformed if response else self.counted.rq_transformed).inc()
        for edit in transformation.edits:
            edit.apply(headers, context)
        changed = transformation.new_body(body, context)
        bodies.request = bodies.response = None
        if changed is not None:
            headers.remove(CONTENT_LENGTH)
            if response:
                manager.modify_encoding_buffer(changed)
            else:
                manager.modify_decoding_buffer(changed)
        if not response and settings.clears_route:
            manager.clear_route_cache()


class TransformFactory(HttpFilterFactory):
    def __init__(self, settings: TransformSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return TransformFilter(self.settings)


@HTTP_FILTERS.register("envoy.filters.http.transform", TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return TransformFactory(TransformSettings(config, context))


@route_config(TYPE)
def create_for_route(config: View, context: FactoryContext) -> TransformSettings:
    """Raises ConfigError."""
    return TransformSettings(config, context)
