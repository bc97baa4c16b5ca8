"""Builds retry, hedge, mirror, hash, upgrade and internal-redirect settings from configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.config.errors import ConfigError
from outrider.http.header_mutation import HeaderParser, parse_addition
from outrider.matching.header_matcher import parse_header_matchers
from outrider.matching.regex import parse_regex_rewrite
from outrider.matching.runtime_fraction import fractional_percent, runtime_fraction
from outrider.router.config.hash_policy import (
    CookieHash,
    FilterStateHash,
    HashMethod,
    HashPolicy,
    HeaderHash,
    QueryHash,
    SourceIpHash,
)
from outrider.router.config.internal_redirect import INTERNAL_REDIRECT_PREDICATES, InternalRedirectPolicy
from outrider.router.config.retry_policy import (
    RESET_SECONDS,
    RESET_UNIX_TIMESTAMP,
    RETRY_HOST_PREDICATES,
    RETRY_PRIORITIES,
    HedgePolicy,
    ResetHeader,
    RetryPolicy,
    parse_retry_grpc_on,
    parse_retry_on,
)
from outrider.router.config.shadow_policy import ShadowPolicy
from outrider.router.config.upgrade_config import ConnectConfig

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_REDIRECT_CODES: Final = (301, 302, 303, 307, 308)


def load_retry_policy(view: View, context: FactoryContext) -> RetryPolicy:
    """From a RetryPolicy. Raises ConfigError."""
    policy = RetryPolicy()
    text = view.text("retry_on")
    # One field for both vocabularies; words that neither knows are skipped, as in Envoy.
    policy.retry_on = parse_retry_on(text)[0] | parse_retry_grpc_on(text)[0]
    policy.num_retries = view.integer("num_retries", 1)
    policy.per_try_timeout_ms = view.millis("per_try_timeout") or 0
    policy.per_try_idle_timeout_ms = view.millis("per_try_idle_timeout") or 0
    policy.host_predicates = [
        RETRY_HOST_PREDICATES.create(each, context) for each in view.messages("retry_host_predicate")
    ]
    priority = view.message("retry_priority")
    if priority is not None:
        policy.priority = RETRY_PRIORITIES.create(priority, context)
    policy.host_selection_max_attempts = view.integer("host_selection_retry_max_attempts") or 1
    policy.retriable_status_codes = view.integers("retriable_status_codes")
    policy.retriable_headers = parse_header_matchers(view.messages("retriable_headers"), context)
    policy.retriable_request_headers = parse_header_matchers(view.messages("retriable_request_headers"), context)
    back_off = view.message("retry_back_off")
    if back_off is not None:
        base = back_off.millis("base_interval")
        # Envoy waits at least a millisecond.
        policy.base_interval_ms = max(1, base or 0)
        longest = back_off.millis("max_interval")
        if longest is None:
            policy.max_interval_ms = policy.base_interval_ms * 10
        else:
            policy.max_interval_ms = max(1, longest)
            if policy.max_interval_ms < policy.base_interval_ms:
                raise back_off.error(
                    "retry_policy.max_interval must greater than or equal to the base_interval", "max_interval"
                )
    limited = view.message("rate_limited_retry_back_off")
    if limited is not None:
        for header in limited.messages("reset_headers"):
            kind = RESET_UNIX_TIMESTAMP if header.enum("format") == "UNIX_TIMESTAMP" else RESET_SECONDS
            policy.reset_headers.append(ResetHeader(header.text("name").lower().encode(), kind))
        policy.reset_max_interval_ms = limited.millis("max_interval") or 300_000
    return policy


def load_any_retry_policy(view: View, context: FactoryContext) -> RetryPolicy | None:
    """Of a route action or virtual host: `retry_policy`, else `retry_policy_typed_config`, else None."""
    own = view.message("retry_policy")
    if own is not None:
        return load_retry_policy(own, context)
    if not view.has("retry_policy_typed_config"):
        return None
    packed = view.any("retry_policy_typed_config")
    if packed.type_name != "envoy.config.route.v3.RetryPolicy":
        raise view.error(f"cannot be a {packed.type_name}", "retry_policy_typed_config")
    return load_retry_policy(packed, context)


def load_hedge_policy(view: View) -> HedgePolicy:
    """From a HedgePolicy."""
    chance = view.message("additional_request_chance")
    numerator, denominator = (0, 100) if chance is None else fractional_percent(chance)
    return HedgePolicy(
        view.integer("initial_requests", 1), numerator, denominator, view.flag("hedge_on_per_try_timeout")
    )


def load_shadow_policy(view: View, context: FactoryContext) -> ShadowPolicy:
    """From a RequestMirrorPolicy. Raises ConfigError."""
    cluster = view.text("cluster")
    header = view.text("cluster_header")
    if cluster and header:
        raise view.error(
            f"Only one of cluster '{cluster}' or cluster_header '{header}' in request mirror policy can be specified"
        )
    if not cluster and not header:
        raise view.error("Exactly one of cluster or cluster_header in request mirror policy need to be specified")
    policy = ShadowPolicy(cluster, header.lower().encode())
    fraction = view.message("runtime_fraction")
    if fraction is not None:
        policy.fraction = runtime_fraction(fraction, context.runtime)
    if view.has("trace_sampled"):
        policy.trace_sampled = view.flag("trace_sampled")
    policy.append_host_suffix = not view.flag("disable_shadow_host_suffix_append")
    policy.host_rewrite = view.text("host_rewrite_literal").encode()
    for mutation in view.messages("request_headers_mutations"):
        kind = mutation.which("action")
        if kind == "append":
            append = mutation.message("append")
            assert append is not None
            policy.request_edits.append(HeaderParser([parse_addition(append)], []))
        elif kind == "remove":
            policy.request_edits.append(load_edits(mutation, [], [mutation.text("remove")], "remove"))
    return policy


def load_edits(view: View, options: list[View], names: list[str], field: str) -> HeaderParser:
    """A HeaderParser; errors about names to remove point to `field`. Raises ConfigError."""
    try:
        return HeaderParser.from_views(options, names)
    except ConfigError as error:
        if error.path is None:
            raise view.error(error.text, field) from None
        raise


def load_hash_policy(views: list[View]) -> HashPolicy:
    """From repeated HashPolicy. Raises ConfigError."""
    return HashPolicy([_hash_method(view) for view in views])


def _hash_method(view: View) -> HashMethod:
    terminal = view.flag("terminal")
    kind = view.which("policy_specifier")
    if kind is None:
        raise view.error("value is required", "policy_specifier")
    inner = view.message(kind)
    assert inner is not None
    if kind == "header":
        rewrite = inner.message("regex_rewrite")
        return HeaderHash(
            terminal,
            inner.text("header_name").lower().encode(),
            None if rewrite is None else parse_regex_rewrite(rewrite),
        )
    if kind == "cookie":
        ttl = inner.seconds("ttl")
        attributes = [
            (each.text("name").encode(), each.text("value").encode()) for each in inner.messages("attributes")
        ]
        return CookieHash(
            terminal,
            inner.text("name").encode(),
            -1 if ttl is None else int(ttl),
            inner.text("path").encode(),
            attributes,
        )
    if kind == "connection_properties":
        return SourceIpHash(terminal) if inner.flag("source_ip") else HashMethod(terminal)
    if kind == "query_parameter":
        return QueryHash(terminal, inner.text("name").encode())
    return FilterStateHash(terminal, inner.text("key"))


def load_upgrades(views: list[View]) -> tuple[dict[bytes, bool], ConnectConfig | None]:
    """From repeated UpgradeConfig. Raises ConfigError."""
    upgrades: dict[bytes, bool] = {}
    connect: ConnectConfig | None = None
    for view in views:
        kind = view.text("upgrade_type")
        key = kind.lower().encode()
        if key in upgrades:
            raise view.error(f"Duplicate upgrade {kind}", "upgrade_type")
        upgrades[key] = view.flag("enabled", True)
        settings = view.message("connect_config")
        if settings is None:
            continue
        if key not in (b"connect", b"connect-udp"):
            raise view.error(f"Non-CONNECT upgrade type {kind} has ConnectConfig", "connect_config")
        proxy = settings.message("proxy_protocol_config")
        version = 0
        if proxy is not None:
            version = 1 if proxy.enum("version") == "V1" else 2
        connect = ConnectConfig(settings.flag("allow_post"), version)
    return upgrades, connect


def load_internal_redirect(view: View, context: FactoryContext) -> InternalRedirectPolicy:
    """From an InternalRedirectPolicy. Raises ConfigError."""
    policy = InternalRedirectPolicy()
    policy.max_internal_redirects = view.integer("max_internal_redirects", 1)
    codes = view.integers("redirect_response_codes")
    if codes:
        policy.response_codes = [code for code in codes if code in _REDIRECT_CODES]
    policy.predicates = [INTERNAL_REDIRECT_PREDICATES.create(each, context) for each in view.messages("predicates")]
    policy.allow_cross_scheme_redirect = view.flag("allow_cross_scheme_redirect")
    for name in view.texts("response_headers_to_copy"):
        if name.startswith(":") or name.lower() == "host":
            raise view.error(":-prefixed headers or Hosts may not be specified here.", "response_headers_to_copy")
        policy.response_headers_to_copy.append(name.lower().encode())
    return policy
