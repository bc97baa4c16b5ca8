"""Operators that print metadata and filter state."""

from __future__ import annotations

from typing import Final

from outrider.access_log.context import FormatContext
from outrider.access_log.json_text import json_text
from outrider.access_log.operation import FormatOp
from outrider.access_log.syntax import LENGTH_ALLOWED, PARAMS_OPTIONAL, PARAMS_REQUIRED, CommandTable, FormatError
from outrider.data.address import Address
from outrider.data.filter_state import FilterStateObject

DYNAMIC: Final = 0
CLUSTER: Final = 1
ROUTE: Final = 2
UPSTREAM_HOST: Final = 3
LISTENER: Final = 4
VIRTUAL_HOST: Final = 5
LISTENER_FILTER_CHAIN: Final = 6

_SOURCES: Final[dict[str, int]] = {
    "DYNAMIC": DYNAMIC,
    "CLUSTER": CLUSTER,
    "ROUTE": ROUTE,
    "UPSTREAM_HOST": UPSTREAM_HOST,
    "LISTENER": LISTENER,
    "VIRTUAL_HOST": VIRTUAL_HOST,
    "LISTENER_FILTER_CHAIN": LISTENER_FILTER_CHAIN,
}

PLAIN_FORM: Final = 0
TYPED_FORM: Final = 1
FIELD_FORM: Final = 2
_FORMS: Final[dict[str, int]] = {"PLAIN": PLAIN_FORM, "TYPED": TYPED_FORM, "FIELD": FIELD_FORM}


def _metadata_of(owner: object) -> object:
    return None if owner is None else getattr(owner, "metadata", None)


def metadata_source(context: FormatContext, source: int) -> object:
    """`filter_metadata` of one of the things that have it; None for none."""
    info = context.stream_info
    if source == DYNAMIC:
        return info.metadata
    if source == CLUSTER:
        return _metadata_of(info.cluster)
    if source == ROUTE:
        return _metadata_of(info.route)
    if source == UPSTREAM_HOST:
        upstream = info.upstream
        return None if upstream is None else _metadata_of(upstream.host)
    if source == VIRTUAL_HOST:
        return None if info.route is None else _metadata_of(getattr(info.route, "virtual_host", None))
    if source == LISTENER:
        return _metadata_of(info.connection.listener_info)
    return _metadata_of(info.connection.filter_chain_info)


def plain_text(value: object) -> bytes | None:
    """A value outside JSON: strings as they are, everything else as JSON text, None for null."""
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return json_text(value)


class MetadataOp(FormatOp):
    """%METADATA(TYPE:NAMESPACE:KEY...):LENGTH%. The length cuts text; in JSON only strings are cut."""

    def __init__(self, source: int, namespace: str, path: list[str], length: int) -> None:
        self.source = source
        self.namespace = namespace
        self.path = path
        self.length = length

    def _find(self, context: FormatContext) -> object:
        value = metadata_source(context, self.source)
        if not isinstance(value, dict) or not self.namespace:
            return None
        value = value.get(self.namespace)
        for key in self.path:
            if not isinstance(value, dict):
                return None
            value = value.get(key)
        return value

    def text(self, context: FormatContext) -> bytes | None:
        text = plain_text(self._find(context))
        return text if text is None or self.length < 0 else text[: self.length]

    def value(self, context: FormatContext) -> object:
        value = self._find(context)
        return self.text(context) if isinstance(value, str) else value


class FilterStateOp(FormatOp):
    """%FILTER_STATE(KEY:PLAIN|TYPED|FIELD:NAME):LENGTH%."""

    def __init__(self, upstream: bool, key: str, form: int, field: str, length: int) -> None:
        self.upstream = upstream
        self.key = key
        self.form = form
        self.field = field
        self.length = length

    def _find(self, context: FormatContext) -> object:
        info = context.stream_info
        found: object = None
        if self.upstream:
            upstream = info.upstream
            if upstream is not None and upstream.filter_state is not None:
                found = upstream.filter_state.get(self.key)
        else:
            if info.filter_state is not None:
                found = info.filter_state.get(self.key)
            if found is None and info.connection.filter_state is not None:
                found = info.connection.filter_state.get(self.key)
        if isinstance(found, FilterStateObject):
            if self.form == PLAIN_FORM:
                return found.serialize()
            return found.serialize_typed() if self.form == TYPED_FORM else found.field(self.field)
        if self.form != PLAIN_FORM or found is None:
            return None
        return found.text if isinstance(found, Address) else found

    def text(self, context: FormatContext) -> bytes | None:
        found = self._find(context)
        if found is None:
            return None
        if self.form == TYPED_FORM:
            text: bytes | None = json_text(found)
        elif isinstance(found, bytes):
            text = found
        else:
            text = plain_text(found)
        return text if text is None or self.length < 0 else text[: self.length]

    def value(self, context: FormatContext) -> object:
        return self._find(context) if self.form == TYPED_FORM else self.text(context)


def _path_op(source: int, argument: str, length: int | None) -> FormatOp:
    parts = argument.split(":")
    return MetadataOp(source, parts[0], parts[1:], -1 if length is None else length)


def _dynamic(argument: str, length: int | None) -> FormatOp:
    return _path_op(DYNAMIC, argument, length)


def _cluster(argument: str, length: int | None) -> FormatOp:
    return _path_op(CLUSTER, argument, length)


def _upstream_host(argument: str, length: int | None) -> FormatOp:
    return _path_op(UPSTREAM_HOST, argument, length)


def _metadata(argument: str, length: int | None) -> FormatOp:
    kind, _, rest = argument.partition(":")
    source = _SOURCES.get(kind)
    if source is None:
        raise FormatError(f"{kind} is not supported type of metadata")
    return _path_op(source, rest, length)


def _filter_state(argument: str, length: int | None) -> FormatOp:
    return _state_op(False, argument, length)


def _upstream_filter_state(argument: str, length: int | None) -> FormatOp:
    return _state_op(True, argument, length)


def _state_op(upstream: bool, argument: str, length: int | None) -> FormatOp:
    parts = argument.split(":")
    if not parts[0]:
        raise FormatError("Invalid filter state configuration, key cannot be empty.")
    form = TYPED_FORM
    if len(parts) > 1 and parts[1]:
        found = _FORMS.get(parts[1])
        if found is None:
            raise FormatError("Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.")
        form = found
    field = parts[2] if len(parts) > 2 else ""
    if (form == FIELD_FORM) != bool(field):
        raise FormatError("Invalid filter state serialize type, FIELD should be used with the field name.")
    return FilterStateOp(upstream, parts[0], form, field, -1 if length is None else length)


COMMANDS: Final[CommandTable] = {
    "DYNAMIC_METADATA": (PARAMS_REQUIRED | LENGTH_ALLOWED, _dynamic),
    "CLUSTER_METADATA": (PARAMS_REQUIRED, _cluster),
    "UPSTREAM_METADATA": (PARAMS_REQUIRED, _upstream_host),
    "METADATA": (PARAMS_OPTIONAL | LENGTH_ALLOWED, _metadata),
    "FILTER_STATE": (PARAMS_OPTIONAL | LENGTH_ALLOWED, _filter_state),
    "UPSTREAM_FILTER_STATE": (PARAMS_OPTIONAL | LENGTH_ALLOWED, _upstream_filter_state),
}
