"""`ProcessingRequest`s, and the edits of `ProcessingResponse`s."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from outrider.config import api
from outrider.data.header_map import HeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_LENGTH
from outrider.http.mutation_rules import ALLOW, FAIL, IGNORE, MutationRules
from outrider.stats.metrics import Counter

if TYPE_CHECKING:
    from outrider.extensions.attributes import Activation
    from outrider.matching.string_matcher import StringMatcher

REQUEST: Final = "envoy.service.ext_proc.v3.ProcessingRequest"
RESPONSE: Final = "envoy.service.ext_proc.v3.ProcessingResponse"
FILTER_NAME: Final = "envoy.filters.http.ext_proc"

# RFC 9110 sections 5.1 and 5.5; pseudo-headers may be among the names.
_NAME: Final = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_STATUS: Final = re.compile(rb"[1-9][0-9][0-9]")
# The limits of the connection manager where it names none.
_MOST_FIELDS: Final = 100
_MOST_BYTES: Final = 60 * 1024


class MutationRejected(Exception):
    """The processor wants what it may not, or what cannot be."""


def new_request() -> Any:
    return api.new(REQUEST)


def fill_headers(
    target: Any, headers: HeaderMap, allowed: StringMatcher | None, disallowed: StringMatcher | None
) -> None:
    """A core.v3.HeaderMap."""
    for name, value in headers.all_items():
        if disallowed is not None and disallowed.matches(name):
            continue
        if allowed is None or allowed.matches(name):
            target.headers.add(key=name.decode("latin-1"), raw_value=value)


def fill_attributes(request: Any, paths: list[tuple[str, list[str]]], activation: Activation) -> None:
    """What the configured names say; those without a value are left out."""
    target = request.attributes[FILTER_NAME]
    for name, path in paths:
        value = activation.find(path)
        if value is not None:
            target[name] = value


def apply_headers(
    mutation: Any, headers: HeaderMap, replacing: bool, rules: MutationRules, rejected: Counter,
    drop_content_length: bool = False,
) -> None:  # fmt: skip
    """A `HeaderMutation`. Raises MutationRejected; what was done until then stays done, as with Envoy."""
    if len(mutation.set_headers) > _MOST_FIELDS or len(mutation.remove_headers) > _MOST_FIELDS:
        rejected.inc()
        raise MutationRejected("header_mutation_operation_count_exceeds_limit")
    for text in mutation.remove_headers:
        name = text.lower().encode("utf-8", "surrogateescape")
        if _NAME.fullmatch(name) is None:
            rejected.inc()
            raise MutationRejected("header_mutation_remove_contains_invalid_character")
        verdict = rules.check(name, True)
        if verdict == ALLOW:
            headers.remove(name)
            continue
        rejected.inc()
        if verdict == FAIL:
            raise MutationRejected("header_mutation_remove_headers_failed")
    for option in mutation.set_headers:
        if option.HasField("header"):
            _set_header(option, headers, replacing, rules, rejected, drop_content_length)
    if headers.count() > _MOST_FIELDS or headers.byte_size() > _MOST_BYTES:
        rejected.inc()
        raise MutationRejected("header_mutation_result_exceeds_limit")


def _set_header(
    option: Any, headers: HeaderMap, replacing: bool, rules: MutationRules, rejected: Counter, drop_length: bool
) -> None:
    """`append` decides; `append_action` is not looked at, as in Envoy."""
    field = option.header
    if field.value and field.raw_value:
        rejected.inc()
        raise MutationRejected("header_mutation_set_headers_failed")
    name = field.key.lower().encode("utf-8", "surrogateescape")
    value = bytes(field.raw_value)
    if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
        rejected.inc()
        raise MutationRejected("header_mutation_set_contains_invalid_character")
    if drop_length and name == CONTENT_LENGTH:
        # The body may still change.
        return
    append = option.append.value if option.HasField("append") else False
    verdict = rules.check(name)
    if name == b":method" and replacing:
        verdict = ALLOW
    if isinstance(headers, ResponseHeaderMap) and name == b":status":
        append = False
        if verdict == ALLOW and _STATUS.fullmatch(value) is None:
            verdict = FAIL if rules.disallow_is_error else IGNORE
    if verdict == ALLOW:
        if append:
            headers.add(name, value)
        else:
            if name[:1] != b":" and name != b"host":
                # At the end, as Envoy puts it.
                headers.remove(name)
            headers.set(name, value)
        return
    rejected.inc()
    if verdict == FAIL:
        raise MutationRejected("header_mutation_set_headers_failed")


def changed_body(mutation: Any, data: bytes) -> bytes:
    """A `BodyMutation` of a body or a chunk."""
    kind = mutation.WhichOneof("mutation")
    if kind == "body":
        return bytes(mutation.body)
    if kind == "clear_body" and mutation.clear_body:
        return b""
    return data
