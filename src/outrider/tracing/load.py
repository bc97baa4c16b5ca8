"""`HttpConnectionManager.Tracing` from configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.tracing.config import DEFAULT_PATH_TAG_LENGTH, TracingConfig
from outrider.tracing.custom_tags import operation_field, parse_custom_tags
from outrider.tracing.registry import TRACERS
from outrider.tracing.span import Tracer

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


def load_tracing(view: View | None, context: FactoryContext, use_request_id: bool) -> TracingConfig | None:
    """None without `tracing`, and where neither it nor the bootstrap names a provider. Raises ConfigError."""
    if view is None:
        return None
    provider = view.message("provider") or context.tracing_provider
    tracer = None if provider is None else tracer_of(provider, context)
    egress = context.traffic_direction == "OUTBOUND"
    config = TracingConfig(NO_TRACER if tracer is None else tracer, context.runtime, egress)
    # Whole per cent but for the random one, as in Envoy.
    config.client_sampling = (int(view.number("client_sampling", 100.0)), 100)
    config.random_sampling = (int(view.number("random_sampling", 100.0) * 100), 10_000)
    config.overall_sampling = (int(view.number("overall_sampling", 100.0)), 100)
    config.verbose = view.flag("verbose")
    config.max_path_tag_length = view.integer("max_path_tag_length", DEFAULT_PATH_TAG_LENGTH)
    config.custom_tags = parse_custom_tags(view.messages("custom_tags"))
    config.spawn_upstream_span = view.flag("spawn_upstream_span")
    config.operation = operation_field(view, "operation")
    config.upstream_operation = operation_field(view, "upstream_operation")
    config.no_context_propagation = view.flag("no_context_propagation")
    config.node_id = context.server.node_id
    config.zone = context.server.node_zone
    config.use_request_id = use_request_id
    return None if tracer is None else config


NO_TRACER = Tracer()


def tracer_of(provider: View, context: FactoryContext) -> Tracer:
    """The tracer of a `config.trace.v3.Tracing.Http`; equal configurations share one. Raises ConfigError."""
    key = f"tracer:{provider.message_bytes().hex()}"
    found = context.singletons.get(key)
    made = TRACERS.create(provider, context)
    # Built each time, so that each field of each copy is seen to be honoured; used once.
    if isinstance(found, Tracer):
        return found
    context.singletons[key] = made
    return made
