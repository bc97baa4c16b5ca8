"""envoy.access_loggers.http_grpc and tcp_grpc: entries to an access log service, over one stream a worker.

Source: Envoy documentation, "Access logging: gRPC Access Log Service (ALS)".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.access_log.access_log import ACCESS_LOGGERS, AccessLog
from outrider.access_log.context import FormatContext
from outrider.config import api
from outrider.extensions.access_loggers.batch import (
    DEFAULT_INTERVAL_MS,
    DEFAULT_SIZE,
    Batch,
    Envelope,
    StreamTransport,
)
from outrider.extensions.access_loggers.custom_tags import load_tags
from outrider.extensions.access_loggers.identity import node_of
from outrider.extensions.access_loggers.log_entry import EntrySettings, http_entry, tcp_entry
from outrider.grpc.factory import grpc_client

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

HTTP_TYPE: Final = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
TCP_TYPE: Final = "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig"
SERVICE: Final = "envoy.service.accesslog.v3.AccessLogService"
METHOD: Final = "StreamAccessLogs"


class AlsEnvelope(Envelope):
    """A StreamAccessLogsMessage; the first of a stream says who sends."""

    def __init__(self, context: FactoryContext, log_name: str, is_http: bool) -> None:
        self.context = context
        self.log_name = log_name
        self.is_http = is_http

    def wrap(self, entries: list[bytes], first: bool) -> bytes:
        message: Any = api.new("envoy.service.accesslog.v3.StreamAccessLogsMessage")
        if first:
            message.identifier.node.CopyFrom(node_of(self.context))
            message.identifier.log_name = self.log_name
        logs = message.http_logs if self.is_http else message.tcp_logs
        for entry in entries:
            logs.log_entry.add().MergeFromString(entry)
        return message.SerializeToString()  # type: ignore[no-any-return]


class GrpcAccessLog(AccessLog):
    def __init__(self, batch: Batch, settings: EntrySettings, is_http: bool) -> None:
        self.batch = batch
        self.settings = settings
        self.is_http = is_http

    def emit(self, context: FormatContext) -> None:
        entry = http_entry(context, self.settings) if self.is_http else tcp_entry(context, self.settings)
        self.batch.add(entry)


def _common(config: View) -> View:
    common = config.message("common_config")
    if common is None:
        raise config.error("value is required", "common_config")
    return common


def _batch(common: View, context: FactoryContext, is_http: bool) -> Batch:
    """The batch of this configuration: loggers with equal ones share a stream. Raises ConfigError."""
    service = common.message("grpc_service")
    if service is None:
        raise common.error("value is required", "grpc_service")
    if common.enum("transport_api_version") not in ("AUTO", "V3"):
        raise common.error("only V3 is spoken", "transport_api_version")
    name = common.text("log_name")
    interval = common.millis("buffer_flush_interval")
    size = common.integer("buffer_size_bytes", DEFAULT_SIZE)
    client = grpc_client(service, context)
    key = f"access_log_batch.{'http' if is_http else 'tcp'}.{common.message_bytes().hex()}"
    found = context.singletons.get(key)
    if isinstance(found, Batch):
        return found
    transport = StreamTransport(client, SERVICE, METHOD, AlsEnvelope(context, name, is_http))
    scope = context.root_scope.scope("access_logs.grpc_access_log.")
    made = Batch(transport, context.dispatcher, DEFAULT_INTERVAL_MS if interval is None else interval, size, scope)
    context.singletons[key] = made
    return made


def _settings(common: View) -> EntrySettings:
    return EntrySettings(load_tags(common.messages("custom_tags")), common.texts("filter_state_objects_to_log"))


def _names(config: View, field: str) -> list[bytes]:
    return [name.lower().encode() for name in config.texts(field)]


@ACCESS_LOGGERS.register("envoy.access_loggers.http_grpc", HTTP_TYPE, "envoy.http_grpc_access_log")
def create_http(config: View, context: FactoryContext) -> AccessLog:
    """Raises ConfigError."""
    common = _common(config)
    settings = _settings(common)
    settings.request_headers = _names(config, "additional_request_headers_to_log")
    settings.response_headers = _names(config, "additional_response_headers_to_log")
    settings.response_trailers = _names(config, "additional_response_trailers_to_log")
    return GrpcAccessLog(_batch(common, context, True), settings, True)


@ACCESS_LOGGERS.register("envoy.access_loggers.tcp_grpc", TCP_TYPE, "envoy.tcp_grpc_access_log")
def create_tcp(config: View, context: FactoryContext) -> AccessLog:
    """Raises ConfigError."""
    common = _common(config)
    return GrpcAccessLog(_batch(common, context, False), _settings(common), False)
