"""The edits that an answer asks for."""

from __future__ import annotations

import re
from typing import Final

from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.extensions.filters.http.ext_authz.answer import AuthzAnswer, Fields
from outrider.http.mutation_rules import ALLOW, FAIL, MutationRules

# RFC 9110 sections 5.1 and 5.5; pseudo-headers may be among the names.
_NAME: Final = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_QUERY_PART: Final = re.compile(rb"[!$-;=?-Z_a-z~%@]*")
_UNSAFE: Final = re.compile(rb"[\x00-\x20\x7f#]")


def all_valid(fields: Fields) -> bool:
    """Whether names and values can be sent."""
    for name, value in fields:
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            return False
    return True


def answer_valid(answer: AuthzAnswer) -> bool:
    """`validate_mutations`, for an answer that allows the request."""
    for fields in (
        answer.to_set, answer.to_append, answer.client_add, answer.client_set, answer.client_add_if_absent,
        answer.client_overwrite,
    ):  # fmt: skip
        if not all_valid(fields):
            return False
    for name in answer.to_remove:
        if _NAME.fullmatch(name) is None:
            return False
    for key, value in answer.query_set:
        if _QUERY_PART.fullmatch(key) is None or _QUERY_PART.fullmatch(value) is None:
            return False
    for key in answer.query_remove:
        if _QUERY_PART.fullmatch(key) is None:
            return False
    return True


def edits_request(answer: AuthzAnswer, names: frozenset[bytes]) -> bool:
    """Whether the route may be another one now; `names`: of the fields that count, empty = all."""
    if names:
        for fields in (answer.to_set, answer.to_append):
            for name, _ in fields:
                if name in names:
                    return True
        for name in answer.to_remove:
            if name in names:
                return True
        return False
    return bool(answer.to_set or answer.to_append or answer.to_remove or answer.query_set or answer.query_remove)


def edit_request(answer: AuthzAnswer, headers: RequestHeaderMap, rules: MutationRules | None) -> bool:
    """False: a rule makes the answer an error."""
    for name, value in answer.to_set:
        verdict = ALLOW if rules is None else rules.check(name)
        if verdict == FAIL:
            return False
        if verdict == ALLOW:
            headers.remove(name)
            headers.set(name, value)
    for name, value in answer.to_append:
        verdict = ALLOW if rules is None else rules.check(name)
        if verdict == FAIL:
            return False
        if verdict == ALLOW and headers.contains(name):
            if answer.joins:
                headers.append(name, value)
            else:
                headers.add(name, value)
    for name in answer.to_remove:
        if name[:1] == b":" or name == b"host":
            continue
        verdict = ALLOW if rules is None else rules.check(name, True)
        if verdict == FAIL:
            return False
        if verdict == ALLOW:
            headers.remove(name)
    if answer.query_set or answer.query_remove:
        headers.path = _edit_query(headers.path, answer)
    return True


def _edit_query(path: bytes, answer: AuthzAnswer) -> bytes:
    """Envoy's QueryParamsMulti: sorted by name, nothing decoded. What cannot stand in a request line is encoded."""
    before, _, query = path.partition(b"?")
    parameters: dict[bytes, list[bytes]] = {}
    if query:
        for part in query.split(b"&"):
            name, _, value = part.partition(b"=")
            parameters.setdefault(name, []).append(value)
    for name in answer.query_remove:
        parameters.pop(name, None)
    for name, value in answer.query_set:
        parameters[_UNSAFE.sub(_encode, name)] = [_UNSAFE.sub(_encode, value)]
    parts = [name + b"=" + value for name in sorted(parameters) for value in parameters[name]]
    return before + b"?" + b"&".join(parts) if parts else before


def _encode(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match.group(0)[0]


def edit_response(answer: AuthzAnswer, headers: ResponseHeaderMap) -> None:
    """The fields for the client of a request that was allowed."""
    for name, value in answer.client_add:
        headers.add(name, value)
    for name, value in answer.client_set:
        headers.remove(name)
        headers.set(name, value)
    for name, value in answer.client_add_if_absent:
        if not headers.contains(name):
            headers.add(name, value)
    for name, value in answer.client_overwrite:
        if headers.contains(name):
            headers.remove(name)
            headers.set(name, value)
