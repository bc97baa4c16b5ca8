"""Makes a client from a `core.v3.GrpcService`. Source: Envoy's `Grpc::AsyncClientManagerImpl`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.access_log.formatter import parse_format
from outrider.access_log.syntax import FormatError
from outrider.grpc.client import GrpcClient
from outrider.grpc.envoy_client import EnvoyGrpcClient
from outrider.grpc.service import EnvoyGrpcService
from outrider.http.header_mutation import OVERWRITE_IF_EXISTS_OR_ADD, HeaderAddition, HeaderParser
from outrider.router.config.retry_policy import (
    RETRY_HOST_PREDICATES,
    RETRY_PRIORITIES,
    RetryPolicy,
    parse_retry_grpc_on,
    parse_retry_on,
)

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

# Longest message taken where the configuration names none: Envoy has no limit then, and every buffer must have one.
DEFAULT_MAX_MESSAGE: Final = 256 << 20
_DEFAULT_BASE_MS: Final = 1000


def grpc_client(view: View, context: FactoryContext, must_exist: bool = False) -> GrpcClient:
    """The client of a GrpcService.

    `must_exist`: the cluster must be there already, as for xDS and stats sinks; elsewhere it may come later, and calls
    end with UNAVAILABLE until then. Raises ConfigError.
    """
    timeout_ms = view.millis("timeout") or 0
    metadata, plain = _initial_metadata(view)
    retry = view.message("retry_policy")
    policy = None if retry is None else _retry_policy(retry, context)
    if view.which("target_specifier") == "google_grpc":
        google = view.message("google_grpc")
        assert google is not None
        from outrider.grpc.google_client import google_client

        if policy is not None:
            raise view.error("is for envoy_grpc only", "retry_policy")
        return google_client(google, context, timeout_ms, metadata, plain)
    envoy = view.message("envoy_grpc")
    if envoy is None:
        raise view.error("value is required", "target_specifier")
    name = envoy.text("cluster_name")
    if must_exist and not context.cluster_manager.has(name):
        raise envoy.error(f"Unknown gRPC client cluster '{name}'", "cluster_name")
    # For the back-off of xDS streams, whose subscriptions read it; calls use the service's own `retry_policy`.
    envoy.accept("retry_policy")
    limit = envoy.integer("max_receive_message_length") or DEFAULT_MAX_MESSAGE
    service = EnvoyGrpcService(context, name, envoy.text("authority"), limit)
    service.send_envoy_headers = not envoy.flag("skip_envoy_headers")
    service.timeout_ms = timeout_ms
    service.metadata = metadata
    service.plain_metadata = plain
    service.retry_policy = policy
    return EnvoyGrpcClient(service)


def _initial_metadata(view: View) -> tuple[HeaderParser | None, list[tuple[bytes, bytes]]]:
    additions: list[HeaderAddition] = []
    plain: list[tuple[bytes, bytes]] = []
    for header in view.messages("initial_metadata"):
        key = header.text("key")
        if key.startswith(":") or key.lower() == "host":
            raise header.error(":-prefixed or host headers may not be modified", "key")
        name = key.lower().encode()
        text = header.text("value")
        try:
            formatter = parse_format(text, (), True)
        except FormatError as error:
            raise header.error(str(error), "value") from None
        additions.append(HeaderAddition(name, formatter, OVERWRITE_IF_EXISTS_OR_ADD, False))
        if text:
            plain.append((name, text.encode()))
    return (HeaderParser(additions, []) if additions else None), plain


def _retry_policy(view: View, context: FactoryContext) -> RetryPolicy:
    """From a core.v3.RetryPolicy, with what Envoy makes of it: each try may last as long as the longest back-off."""
    policy = RetryPolicy()
    text = view.text("retry_on")
    policy.retry_on = parse_retry_on(text)[0] | parse_retry_grpc_on(text)[0]
    policy.num_retries = view.integer("num_retries", 1)
    base, longest = _DEFAULT_BASE_MS, _DEFAULT_BASE_MS * 10
    back_off = view.message("retry_back_off")
    if back_off is not None:
        base = back_off.millis("base_interval") or 1
        longest = back_off.millis("max_interval") or base * 10
        if longest < base:
            raise back_off.error("max_interval must be greater than or equal to the base_interval", "max_interval")
    policy.base_interval_ms = base
    policy.max_interval_ms = longest
    policy.per_try_timeout_ms = longest
    policy.host_predicates = [
        RETRY_HOST_PREDICATES.create(each, context) for each in view.messages("retry_host_predicate")
    ]
    priority = view.message("retry_priority")
    if priority is not None:
        policy.priority = RETRY_PRIORITIES.create(priority, context)
    policy.host_selection_max_attempts = view.integer("host_selection_retry_max_attempts") or 1
    return policy
