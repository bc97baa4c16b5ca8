"""envoy.access_loggers.open_telemetry: log records to an OpenTelemetry collector, by gRPC or HTTP.

Source: Envoy documentation, "OpenTelemetry access log"; OTLP, "logs".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from outrider.access_log.access_log import ACCESS_LOGGERS, AccessLog
from outrider.access_log.context import FormatContext
from outrider.config import api
from outrider.data.filter_state import FilterStateObject
from outrider.extensions.access_loggers.batch import (
    DEFAULT_INTERVAL_MS,
    DEFAULT_SIZE,
    Batch,
    Envelope,
    Transport,
    UnaryTransport,
)
from outrider.extensions.access_loggers.custom_tags import CustomTag, load_tags
from outrider.extensions.access_loggers.otel_value import PairsFormat, ValueFormat, load_pairs, load_value
from outrider.extensions.otlp_http import OtlpHttpTransport
from outrider.grpc.factory import grpc_client

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
SERVICE: Final = "opentelemetry.proto.collector.logs.v1.LogsService"
METHOD: Final = "Export"
_TRACE_ID_DIGITS: Final = 32
_SPAN_ID_DIGITS: Final = 16


class LogsEnvelope(Envelope):
    """An ExportLogsServiceRequest."""

    def __init__(self, resource: bytes) -> None:
        # A serialized Resource.
        self.resource = resource

    def wrap(self, entries: list[bytes], first: bool) -> bytes:
        message: Any = api.new("opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest")
        logs = message.resource_logs.add()
        logs.resource.SetInParent()
        logs.resource.MergeFromString(self.resource)
        records = logs.scope_logs.add().log_records
        for entry in entries:
            records.add().MergeFromString(entry)
        return message.SerializeToString()  # type: ignore[no-any-return]


class OtelAccessLog(AccessLog):
    def __init__(
        self,
        batch: Batch,
        body: ValueFormat | None,
        attributes: PairsFormat,
        filter_state: list[str],
        tags: list[CustomTag],
    ) -> None:
        self.batch = batch
        self.body: ValueFormat | None = body
        self.attributes = attributes
        self.filter_state = filter_state
        self.tags = tags

    def emit(self, context: FormatContext) -> None:
        info = context.stream_info
        record: Any = api.new("opentelemetry.proto.logs.v1.LogRecord")
        record.time_unix_nano = info.start_time_ns
        if self.body is not None:
            self.body.fill(record.body, context)
        self.attributes.fill_pairs(record.attributes, context)
        for name in self.filter_state:
            found = None if info.filter_state is None else info.filter_state.get(name)
            if isinstance(found, FilterStateObject):
                typed = found.serialize_typed()
                if typed is not None:
                    _add(record.attributes, name, json.dumps(typed, separators=(",", ":")))
        for tag in self.tags:
            value = tag.value(context)
            if value:
                _add(record.attributes, tag.name, value)
        if len(info.trace_id) == _TRACE_ID_DIGITS and len(info.span_id) == _SPAN_ID_DIGITS:
            record.trace_id = bytes.fromhex(info.trace_id)
            record.span_id = bytes.fromhex(info.span_id)
        self.batch.add(record.SerializeToString())


def _add(attributes: Any, key: str, value: str) -> None:
    made = attributes.add()
    made.key = key
    made.value.string_value = value


def _resource(config: View, log_name: str, context: FactoryContext) -> bytes:
    resource: Any = api.new("opentelemetry.proto.resource.v1.Resource")
    if not config.flag("disable_builtin_labels"):
        server = context.server
        _add(resource.attributes, "log_name", log_name)
        _add(resource.attributes, "zone_name", server.node_zone)
        _add(resource.attributes, "cluster_name", server.node_cluster)
        _add(resource.attributes, "node_name", server.node_id)
    own = config.message("resource_attributes")
    if own is not None:
        for pair in own.take().values:  # type: ignore[attr-defined]
            resource.attributes.add().MergeFromString(pair.SerializeToString())
    return resource.SerializeToString()  # type: ignore[no-any-return]


def _transport(config: View, common: View | None, envelope: LogsEnvelope, context: FactoryContext) -> Transport:
    http = config.message("http_service")
    if http is not None:
        return OtlpHttpTransport(http, context, envelope)
    service = config.message("grpc_service")
    if service is None and common is not None:
        service = common.message("grpc_service")
    if service is None:
        raise config.error("one of grpc_service and http_service is required")
    return UnaryTransport(grpc_client(service, context), SERVICE, METHOD, envelope)


@ACCESS_LOGGERS.register("envoy.access_loggers.open_telemetry", TYPE, "envoy.open_telemetry_access_log")
def create(config: View, context: FactoryContext) -> AccessLog:
    """Raises ConfigError."""
    common = config.message("common_config")
    # The fields were in the common part once.
    settings = common if common is not None and not config.has("log_name") else config
    if common is not None:
        common.accept("transport_api_version")
    log_name = settings.text("log_name")
    interval = settings.millis("buffer_flush_interval")
    size = settings.integer("buffer_size_bytes", DEFAULT_SIZE)
    filter_state = settings.texts("filter_state_objects_to_log")
    tags = load_tags(settings.messages("custom_tags"))
    body = config.message("body")
    attributes = load_pairs(config.message("attributes"))
    envelope = LogsEnvelope(_resource(config, log_name, context))
    transport = _transport(config, common, envelope, context)
    prefix = config.text("stat_prefix")
    scope = context.root_scope.scope("access_logs.open_telemetry_access_log." + (f"{prefix}." if prefix else ""))
    key = f"access_log_batch.otel.{config.message_bytes().hex()}"
    batch = context.singletons.get(key)
    if not isinstance(batch, Batch):
        batch = Batch(transport, context.dispatcher, DEFAULT_INTERVAL_MS if interval is None else interval, size, scope)
        context.singletons[key] = batch
    return OtelAccessLog(batch, None if body is None else load_value(body), attributes, filter_state, tags)
