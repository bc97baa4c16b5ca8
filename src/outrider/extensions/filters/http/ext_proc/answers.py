"""What an answer of the processor means beside its edits: other modes, more time, the end of its work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.extensions.filters.http.ext_proc.direction import FULL_DUPLEX, HEADERS, NONE, STREAMED, Direction

if TYPE_CHECKING:
    from outrider.extensions.filters.http.ext_proc.settings import ExtProcSettings


def override_mode(settings: ExtProcSettings, decoding: Direction, encoding: Direction, answer: Any) -> None:
    """`mode_override`, where the configuration allows it and headers are waited for."""
    if not settings.allow_override or settings.early_body or not answer.HasField("mode_override"):
        return
    mode = settings.mode
    if FULL_DUPLEX in (mode.request_body, mode.response_body):
        return
    if decoding.waiting != HEADERS and encoding.waiting != HEADERS:
        return
    wanted = mode.overridden(answer.mode_override)
    if settings.allowed_modes and not any(wanted.same_choice(each) for each in settings.allowed_modes):
        return
    decoding.set_mode(wanted)
    encoding.set_mode(wanted)


def extend_timeout(settings: ExtProcSettings, decoding: Direction, encoding: Direction, duration: Any) -> None:
    """`override_message_timeout`."""
    stats = settings.stats
    timeout_ms = duration.seconds * 1000 + duration.nanos // 1_000_000
    if not 1 <= timeout_ms <= settings.max_timeout_ms:
        stats.override_message_timeout_ignored.inc()
        return
    extended = decoding.extend(timeout_ms)
    extended = encoding.extend(timeout_ms) or extended
    counter = stats.override_message_timeout_received if extended else stats.override_message_timeout_ignored
    counter.inc()


def ends_body(side: Direction, kind: str | None, answer: Any) -> bool:
    """Whether a body response is the last of its direction; to be asked before it is applied."""
    if kind not in ("request_body", "response_body"):
        return False
    if side.body_mode == STREAMED:
        return bool(side.queue) and side.queue[0][1]
    if side.body_mode == FULL_DUPLEX:
        return bool(getattr(answer, kind).response.body_mutation.streamed_response.end_of_stream)
    return False


def was_last(decoding: Direction, encoding: Direction, kind: str | None, last_body: bool) -> bool:
    """Whether the processor has nothing more to say."""
    if kind == "request_headers":
        quiet = decoding.no_body or (decoding.body_mode == NONE and not decoding.send_trailers)
        return quiet and encoding.nothing_to_process()
    if kind == "request_body":
        return last_body and encoding.nothing_to_process()
    if kind == "request_trailers":
        return encoding.nothing_to_process()
    if kind == "response_headers":
        return encoding.no_body or (encoding.body_mode == NONE and not encoding.send_trailers)
    if kind == "response_body":
        return last_body
    return kind == "response_trailers"
