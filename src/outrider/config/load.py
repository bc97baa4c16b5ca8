"""Configuration files to checked messages: read, merge, parse, check constraints, log what is outdated."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from outrider.config import api, notices, rules
from outrider.config.errors import ConfigError, raise_all
from outrider.config.parse import Fault, Reader
from outrider.config.source import Places, Source
from outrider.config.view import View

_log: Final = logging.getLogger("outrider.config")
_REPEATED: Final = 20
"""How many places of one deprecated field are named, before one line sums up the rest."""


class LoadPolicy:
    """What is allowed, and how often it was made use of.

    `allow_unknown`: unknown fields are logged and counted in `unknown_fields`
    (`--allow-unknown-static-fields`), not refused. `allowed_features`: the
    deprecated fields and enum values that runtime allows, `*` for all.
    `deprecated` and `work_in_progress` count what Envoy's stats of the same
    meaning count.
    """

    __slots__ = ("allow_unknown", "allowed_features", "deprecated", "unknown_fields", "work_in_progress")

    def __init__(self, allow_unknown: bool = False, allowed_features: frozenset[str] = frozenset()) -> None:
        self.allow_unknown = allow_unknown
        self.allowed_features = allowed_features
        self.unknown_fields = 0
        self.deprecated = 0
        self.work_in_progress = 0

    def notes_unknown(self, text: str) -> bool:
        """Count unknown fields that are allowed; whether they are worth a warning."""
        self.unknown_fields += 1
        return True

    def allows(self, subject: str) -> bool:
        """Whether runtime allows a deprecated field that is refused by default."""
        return "*" in self.allowed_features or subject in self.allowed_features


@contextmanager
def paused_collector() -> Iterator[None]:
    """No cyclic garbage collection for a while: a tree of 100,000 nodes otherwise costs five times its making."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def parse_source(source: Source, message: Message, policy: LoadPolicy) -> None:
    """Fill a message from one source of any kind. Raises ConfigError or ConfigErrors."""
    if source.kind == "pb":
        try:
            message.ParseFromString(source.content)
        except DecodeError:
            raise ConfigError(f"is not a binary {message.DESCRIPTOR.full_name}", file=source.name) from None
        return
    if source.kind == "pb_text":
        _parse_text(source, message)
        return
    reader = Reader()
    try:
        tree = source.tree()
        for warning in source.warnings:
            _log.warning("%s", warning)
        reader.read(tree, message)
    except RecursionError:
        raise ConfigError("is nested too deeply", file=source.name) from None
    report_faults(reader, Places(source), policy)


def report_faults(reader: Reader, places: Places | None, policy: LoadPolicy, prefix: str = "") -> None:
    """Log the warnings of a reader and raise its faults; unknown fields as the policy says."""
    for warning in reader.warnings:
        _log.warning("outdated configuration: %s", warning.error(places, prefix))
    errors: list[ConfigError] = []
    for fault in reader.faults:
        if fault.unknown and policy.allow_unknown:
            _unknown(fault, places, prefix, policy)
        else:
            errors.append(fault.error(places, prefix))
    raise_all(errors)


def _unknown(fault: Fault, places: Places | None, prefix: str, policy: LoadPolicy) -> None:
    policy.unknown_fields += 1
    _log.warning("unknown field: %s", fault.error(places, prefix))


def _parse_text(source: Source, message: Message) -> None:
    try:
        text_format.Parse(source.content.decode("utf-8"), message, descriptor_pool=api.pool())
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8", file=source.name) from None
    except text_format.ParseError as error:
        text = str(error)
        for prefix in (f"{error.GetLine()}:{error.GetColumn()} : ", f"{error.GetLine()}:{error.GetColumn()}: "):
            text = text.removeprefix(prefix)
        raise ConfigError(
            f"is not a text {message.DESCRIPTOR.full_name}: {text}",
            None,
            source.name,
            error.GetLine(),
            error.GetColumn(),
        ) from None
    except (TypeError, RecursionError) as error:  # an Any of an unknown type; too deep
        raise ConfigError(f"is not a text {message.DESCRIPTOR.full_name}: {error}", file=source.name) from None


def merge_sources(sources: Sequence[Source], type_name: str, policy: LoadPolicy) -> Message:
    """One message from sources merged in their order (protobuf's MergeFrom). Raises ConfigError or ConfigErrors."""
    message = api.new(type_name)
    for source in sources:
        part = api.new(type_name) if len(sources) > 1 else message
        parse_source(source, part, policy)
        if part is not message:
            message.MergeFrom(part)
    return message


def load_message(sources: Sequence[Source], type_name: str, policy: LoadPolicy) -> View:
    """One message from sources that are merged in their order, checked. Raises ConfigError or ConfigErrors."""
    with paused_collector():
        message = merge_sources(sources, type_name, policy)
        return checked_view(message, sources, policy)


def checked_view(message: Message, sources: Sequence[Source], policy: LoadPolicy) -> View:
    """The view of a message that came from these sources, after `verify`."""
    places = Places(*sources)
    verify(message, policy, places=places, binary=any(source.kind == "pb" for source in sources))
    return View(message, locator=places)


def verify(
    message: Message, policy: LoadPolicy, path: str = "", places: Places | None = None, binary: bool = True
) -> None:
    """Check the constraints of a message however it came, and log what is deprecated in it.

    `binary` says that it came serialized, so that it can hold unknown fields.
    Raises ConfigErrors with every constraint that is broken.
    """
    errors: list[ConfigError] = []
    seen: Counter[str] = Counter()
    for notice in notices.collect(message, path, policy.allows, binary):
        file, line = places.place(notice.path) if places is not None else (None, None)
        error = ConfigError(notice.text, notice.path or None, file, line)
        if notice.kind == notices.DISALLOWED or (notice.kind == notices.UNKNOWN and not policy.allow_unknown):
            errors.append(error)
            continue
        if notice.kind == notices.UNKNOWN:
            if not policy.notes_unknown(notice.text):
                continue
        elif notice.kind == notices.DEPRECATED:
            policy.deprecated += 1
        else:
            policy.work_in_progress += 1
        seen[notice.subject] += 1
        if seen[notice.subject] <= _REPEATED:
            _log.warning("outdated configuration: %s" if notice.kind == notices.DEPRECATED else "%s", error)
    for subject, count in seen.items():
        if count > _REPEATED:
            _log.warning("outdated configuration: '%s' in %d more places", subject, count - _REPEATED)
    errors += rules.check(message, path, places)
    raise_all(errors)
