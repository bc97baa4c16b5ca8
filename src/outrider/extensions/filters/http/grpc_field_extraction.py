"""envoy.filters.http.grpc_field_extraction: fields of a gRPC request's first message into dynamic metadata.

Source: Envoy documentation, "gRPC Field Extraction".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from outrider.config.data_source import read_data_source
from outrider.data.grpc_status import FAILED_PRECONDITION, INVALID_ARGUMENT, is_grpc_content_type
from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.data.header_names import CONTENT_TYPE
from outrider.extensions.filters.http.grpc_frames import FrameDecoder, FrameError
from outrider.extensions.filters.http.grpc_json_transcoder.json_writer import number_text
from outrider.extensions.filters.http.grpc_json_transcoder.methods import (
    FieldPathError,
    load_pool,
    resolve_message_path,
)
from outrider.http.filter import (
    DATA_CONTINUE,
    DATA_STOP_NO_BUFFER,
    HEADERS_CONTINUE,
    HEADERS_STOP_ITERATION,
    TRAILERS_CONTINUE,
    TRAILERS_STOP,
    HttpFilter,
    HttpFilterFactory,
)
from outrider.http.filter_registry import HTTP_FILTERS

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_NAME: Final = "envoy.filters.http.grpc_field_extraction"
_TYPE: Final = "envoy.extensions.filters.http.grpc_field_extraction.v3.GrpcFieldExtractionConfig"
_DETAILS: Final = "grpc_field_extraction_"


class Extraction:
    """One field path, and the key under which its values are stored."""

    __slots__ = ("fields", "key")

    def __init__(self, fields: list[FieldDescriptor], key: str) -> None:
        self.fields = fields
        self.key = key

    def values(self, message: Message) -> list[object]:
        """The values at the end of the path, through repeated messages; nothing for what is not there."""
        found: list[Any] = [message]
        for field in self.fields:
            inner: list[Any] = []
            for each in found:
                # What has its default value is not on the wire.
                value = getattr(each, field.name)
                if field.is_repeated:
                    inner.extend(value)
                elif any(present.number == field.number for present, _ in each.ListFields()):
                    inner.append(value)
            found = inner
        return [_text(value, self.fields[-1]) for value in found]


class MethodExtractions:
    __slots__ = ("message", "extractions")

    def __init__(self, message: type[Message], extractions: list[Extraction]) -> None:
        self.message = message
        self.extractions = extractions


def _text(value: Any, field: FieldDescriptor) -> str:
    """Scalars are stored as text, whatever they are."""
    if field.message_type is not None:
        # A timestamp is stored as it is on the wire, as in Envoy.
        return bytes(value.SerializeToString()).decode("latin-1")
    if isinstance(value, float):
        return number_text(value, field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT).strip('"')
    return str(value)


def _extractable(field: FieldDescriptor) -> bool:
    if field.message_type is not None:
        return field.message_type.full_name == "google.protobuf.Timestamp"
    return field.enum_type is None and field.type not in (FieldDescriptor.TYPE_BOOL, FieldDescriptor.TYPE_BYTES)


class FieldExtractionFilter(HttpFilter):
    __slots__ = ("methods", "method", "done", "_frames", "_held")

    def __init__(self, methods: dict[str, MethodExtractions]) -> None:
        self.methods = methods
        self.method: MethodExtractions | None = None
        self.done = False
        self._frames = FrameDecoder()
        self._held: list[bytes] = []

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        if not is_grpc_content_type(headers.single.get(CONTENT_TYPE, b"")):
            return HEADERS_CONTINUE
        path = headers.path.decode("latin-1")
        if path.count("/") != 2:
            text = f":path `{path}` should be in form of `/package.service/method`"
            self._refuse(INVALID_ARGUMENT, text, "INVALID_ARGUMENT{BAD_REQUEST}")
            return HEADERS_STOP_ITERATION
        self.method = self.methods.get(path[1:].replace("/", "."))
        return HEADERS_CONTINUE if self.method is None else HEADERS_STOP_ITERATION

    def decode_data(self, data: bytes, end_stream: bool) -> int:
        method = self.method
        if method is None or self.done:
            return DATA_CONTINUE
        limit = self.manager.buffer_limit
        if limit and self._frames.held + len(data) > limit:
            self._refuse(
                FAILED_PRECONDITION,
                "Rejected because internal buffer limits are exceeded.",
                "FAILED_PRECONDITION{REQUEST_BUFFER_CONVERSION_FAIL}",
            )
            return DATA_STOP_NO_BUFFER
        self._held.append(data)
        try:
            frames = self._frames.decode(data)
        except FrameError as error:
            self._refuse(INVALID_ARGUMENT, str(error), "INVALID_ARGUMENT{REQUEST_BUFFER_CONVERSION_FAIL}")
            return DATA_STOP_NO_BUFFER
        if not frames:
            if end_stream:
                self._out_of_data()
            return DATA_STOP_NO_BUFFER
        self.done = True
        message = method.message()
        try:
            message.ParseFromString(frames[0][1])
        except DecodeError:
            self._refuse(
                INVALID_ARGUMENT, "the message is malformed", "INVALID_ARGUMENT{REQUEST_FIELD_EXTRACTION_FAILED}"
            )
            return DATA_STOP_NO_BUFFER
        found: dict[str, object] = {each.key: each.values(message) for each in method.extractions}
        if found:
            self.manager.stream_info.set_metadata(_NAME, found)
        held = b"".join(self._held)
        self._held = []
        self.manager.inject_decoded_data(self, held, end_stream)
        return DATA_STOP_NO_BUFFER

    def decode_trailers(self, trailers: HeaderMap) -> int:
        if self.method is not None and not self.done:
            self._out_of_data()
            return TRAILERS_STOP
        return TRAILERS_CONTINUE

    def _out_of_data(self) -> None:
        self._refuse(
            INVALID_ARGUMENT,
            "Did not receive enough data for gRPC message parsing.",
            "INVALID_ARGUMENT{REQUEST_BUFFER_CONVERSION_FAIL}",
        )

    def _refuse(self, status: int, text: str, details: str) -> None:
        # Both statuses that occur are HTTP's 400.
        self.manager.send_local_reply_full(400, text, None, status, _DETAILS + details)


class FieldExtractionFactory(HttpFilterFactory):
    def __init__(self, methods: dict[str, MethodExtractions]) -> None:
        self.methods = methods

    def create(self) -> HttpFilter:
        return FieldExtractionFilter(self.methods)


@HTTP_FILTERS.register(_NAME, _TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    source = config.message("descriptor_set")
    if source is None:
        raise config.error("value is required", "descriptor_set")
    if source.which("specifier") not in ("filename", "inline_bytes"):
        raise source.error("Unsupported DataSource case for configuring `descriptor_set`: filename or inline_bytes")
    pool = load_pool(read_data_source(source), config, "descriptor_set")
    methods: dict[str, MethodExtractions] = {}
    for name, view in config.message_map("extractions_by_method").items():
        try:
            found = pool.FindMethodByName(name)
        except KeyError:
            raise view.error(f"couldn't find the gRPC method `{name}` defined in the proto descriptor") from None
        extractions: list[Extraction] = []
        for path, disposition in view.message_map("request_field_extractions").items():
            try:
                fields = resolve_message_path(found.input_type, path)
            except FieldPathError as error:
                raise disposition.error(str(error)) from None
            if not _extractable(fields[-1]):
                raise view.error(
                    f"couldn't init extractor for method `{name}`: leaf node '{path}' must be numerical/string or "
                    "timestamp type"
                )
            if disposition.text("dynamic_metadata"):
                raise disposition.error("a namespace of one's own is not supported", "dynamic_metadata")
            extractions.append(Extraction(fields, disposition.text("metadata_key") or path))
        methods[name] = MethodExtractions(GetMessageClass(found.input_type), extractions)
    return FieldExtractionFactory(methods)
